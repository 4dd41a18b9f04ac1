"""A footer is read by a closed form: every string by what it is for, and nothing that a reader would pass by."""

from __future__ import annotations

import io
from contextlib import suppress

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from protos.formats.parquet_footer import read_footer
from trust.errors import Invalid


def written(**columns: list[str | None]) -> bytes:
    """The footer that pyarrow writes."""
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata({"note": "x" * 300}), file, row_group_size=2)
    data = file.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


GOOD = written(text=["b", "c", "d", "a"], title=["t", None, None, None])


def test_every_string_is_told_by_what_it_is_for() -> None:
    found = read_footer(GOOD)
    assert set(found.names) == {b"schema", b"text", b"title"}
    assert found.keys == [b"note", b"ARROW:schema"]
    assert found.values[0] == b"x" * 300
    assert set(found.bounds) == {b"b", b"c", b"d", b"a", b"t"}
    assert found.writers[0].startswith(b"parquet-cpp-arrow")


KEY_VALUE = b"\x18\x04note\x18\x01x\x00"  # field 1, then field 2, each a string; the end


def around(entries: bytes) -> bytes:
    """A footer with nothing but this list of one key and value."""
    return b"\x59\x1c" + entries + b"\x00"


def test_the_plain_spelling_is_read() -> None:
    assert read_footer(around(KEY_VALUE)).keys == [b"note"]


@pytest.mark.parametrize(
    "entries",
    [
        KEY_VALUE.replace(b"\x18\x04", b"\x18\x84\x00", 1),  # a length in two bytes where one does
        b"\x08\x02\x04note\x18\x01x\x00",  # a field's number in full where a step does
        b"\x18\x04note\x18\x01x\x08\x04\x01y\x00",  # the second field twice
        b"\x18\x04note\x18\x01x\x18\x01y\x00",  # a third field
        b"\x16\x04\x18\x01x\x00",  # a number in the place of the key
        b"\x18\x7fnote",  # longer than there is
    ],
    ids=["long length", "long field", "twice", "unknown", "another type", "cut"],
)
def test_what_readers_would_read_otherwise_is_refused(entries: bytes) -> None:
    with pytest.raises(Invalid):
        read_footer(around(entries))


def test_bytes_behind_it_are_refused() -> None:
    with pytest.raises(Invalid):
        read_footer(GOOD + b"more")


@given(st.data())
def test_damage_is_refused_or_read_and_never_anything_else(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    damaged = GOOD[:at] + data.draw(st.binary(max_size=4)) + GOOD[at + data.draw(st.integers(0, 4)) :]
    try:
        found = read_footer(damaged)
    except Invalid:
        return
    assert sum(map(len, [*found.names, *found.keys, *found.values, *found.bounds])) <= len(damaged)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    with suppress(Invalid):
        read_footer(data)
