"""JSON to be signed: one spelling out, one reading in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.canonical import emit, parse
from trust.errors import Invalid

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text() | st.floats(-1e6, 1e6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_emitted_reads_back(value: object) -> None:
    try:
        data = emit(value)
    except Invalid:  # half of a surrogate pair
        return
    assert parse(data) == json.loads(data)
    assert emit(parse(data)) == data


def test_keys_are_sorted_and_numbers_written_as_rfc_8785_says() -> None:
    assert emit({"b": 1e21, "a": [1.0, 0.000001, 1e-7], "\u20ac": "\n"}) == (
        b'{"a":[1,0.000001,1e-7],"b":1e+21,"\xe2\x82\xac":"\\n"}'
    )


def test_the_examples_of_rfc_8785_come_out_as_printed_there() -> None:
    """Sections 3.2.2 (values) and 3.2.3 (keys sorted by UTF-16 units, so that a smiley comes before a dalet)."""
    values = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert emit(values).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(emit(dict.fromkeys(keys, "")))) == ordered


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b"NaN", "not a JSON number"),
        (b"1e999", "too large"),
        (b"9007199254740993", "exactly"),
        (b"\xff", "UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b"[" * 33 + b"]" * 33, "deeper"),
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b" " * (1 << 20) + b"1", "allowed"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        parse(data)


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    assert parse(json.dumps("[" * 500).encode()) == "[" * 500


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_parser(data: bytes) -> None:
    try:
        parse(data)
    except Invalid:
        return


def test_a_key_that_stands_twice_among_many_is_found_in_one_pass() -> None:
    """A search per key would keep a hub busy for minutes with one small message."""
    keys = ",".join(f'"{number}":0' for number in range(100_000))
    with pytest.raises(Invalid, match="the key '99999' twice"):
        parse(f'{{{keys},"99999":0}}'.encode())
