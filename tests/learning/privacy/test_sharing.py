"""Enough shares give a secret, fewer give nothing."""

from __future__ import annotations

import os
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.privacy.sharing import PRIME, combine, split
from trust.errors import Invalid


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 7), st.data())
def test_any_so_many_shares_give_the_secret(secret: bytes, count: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, count))
    shares = split(secret, range(1, count + 1), threshold, os.urandom)
    for group in combinations(shares, threshold):
        assert combine({point: shares[point] for point in group}) == secret


def test_shares_below_the_threshold_fit_every_secret() -> None:
    """For two shares of three and any other secret there is a third share that gives it: the two tell nothing."""
    shares = split(b"s" * 32, (1, 2, 3), 3, os.urandom)
    wanted = int.from_bytes(b"another secret, of 32 bytes too.", "big")
    first, second = (int.from_bytes(shares[point], "big") for point in (1, 2))
    third = (wanted - 3 * first + 3 * second) % PRIME  # at 0: 3 f(1) - 3 f(2) + f(3)
    assert combine({1: shares[1], 2: shares[2], 3: third.to_bytes(66, "big")}) == b"another secret, of 32 bytes too."
    with pytest.raises(Invalid, match="too few, or one of them is wrong"):
        combine({1: shares[1], 2: shares[2]})


def test_what_cannot_be_shared_is_refused() -> None:
    for secret, points, threshold in ((b"short", (1, 2), 2), (bytes(32), (1, 1), 1), (bytes(32), (0, 1), 1)):
        with pytest.raises(Invalid, match="cannot be shared"):
            split(secret, points, threshold, os.urandom)
    for threshold in (0, 3):
        with pytest.raises(Invalid, match="cannot be shared"):
            split(bytes(32), (1, 2), threshold, os.urandom)
    with pytest.raises(Invalid, match="no secret"):
        combine({})
