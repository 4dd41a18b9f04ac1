"""Base64 in which every byte string has one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.encoding import from_base64, to_base64
from trust.errors import Invalid


@given(st.binary(max_size=100))
def test_bytes_survive_the_round_trip(data: bytes) -> None:
    assert from_base64(to_base64(data), "It") == data


@pytest.mark.parametrize("text", ["AB==", "AA=", "AA", "A", "AAAA\n", " AAAA", "AA-_", "é", "AA==AA==", "===="])
def test_other_spellings_are_refused_in_the_name_of_the_thing(text: str) -> None:
    with pytest.raises(Invalid, match="The seal"):
        from_base64(text, "The seal")
