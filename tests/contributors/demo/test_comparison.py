"""Paired comparison: the same texts on both sides, so that what they share cancels."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contributors.demo.comparison import compare
from protos.documents.evaluations import Sample

texts = st.lists(st.tuples(st.floats(-500, -1), st.integers(1, 400)), min_size=2, max_size=30)


def log(values: list[tuple[float, int]], change: float = 0.0) -> list[Sample]:
    """A per-item log; `change` in bits per byte is added to every text."""
    return [
        Sample(task="reading", item=i, log_likelihoods=(value - change * size * math.log(2),), lengths=(size,))
        for i, (value, size) in enumerate(values)
    ]


@given(texts, st.floats(-1, 1))
def test_a_change_that_is_the_same_everywhere_has_no_error(values: list[tuple[float, int]], change: float) -> None:
    """For the better the worse log comes first: no log likelihood is positive."""
    better, worse = log(values), log(values, abs(change))
    before, after, error = compare(better, worse) if change >= 0 else compare(worse, better)
    assert after - before == pytest.approx(change, abs=1e-9)
    assert error == pytest.approx(0, abs=1e-9)


def test_the_order_of_a_log_does_not_matter_and_items_of_one_side_do_not_count() -> None:
    values = [(-10.0, 5), (-30.0, 9), (-20.0, 4)]
    whole = compare(log(values), log(values, 0.1))
    assert compare(log(values)[::-1], log(values, 0.1)) == pytest.approx(whole)
    assert compare(log([*values, (-1e6, 1)]), log(values, 0.1)) == pytest.approx(whole)
