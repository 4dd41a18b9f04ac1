"""Updates as whole numbers: their sum is the sum of the updates, to a known step, and masks go on and off without a trace."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.privacy.ring import Ring, add_stream, size_of
from trust.errors import Invalid

REFERENCE = {"b": torch.zeros(4), "a": torch.full((2, 3), 0.5)}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(-3, 3, width=32), min_size=10, max_size=10), min_size=1, max_size=5),
    st.floats(0.01, 10),
)
def test_the_mean_of_a_sum_is_the_mean_of_what_went_in(rows: list[list[float]], bound: float) -> None:
    ring = Ring(bound, len(rows))
    total = np.zeros(size_of(REFERENCE), np.uint32)
    clipped = []
    for row in rows:
        change = {"a": torch.tensor(row[:6]).view(2, 3), "b": torch.tensor(row[6:])}
        update = {name: start + change[name] for name, start in REFERENCE.items()}
        total += ring.encode(update, REFERENCE)
        clipped.append(
            {name: (update[name].double() - start).clamp(-bound, bound) for name, start in REFERENCE.items()}
        )
    mean = ring.mean(total, len(rows), REFERENCE)
    assert list(mean) == ["a", "b"]
    for name in mean:
        expected = torch.stack([each[name] for each in clipped]).mean(0)
        torch.testing.assert_close(mean[name], expected, rtol=0, atol=0.51 / ring.scale)


def test_the_largest_sum_does_not_go_round() -> None:
    ring = Ring(1.0, 1000)
    for extreme in (1.0, -1.0, 7.0):
        words = ring.encode({name: tensor + extreme for name, tensor in REFERENCE.items()}, REFERENCE)
        total = np.zeros_like(words)
        for _ in range(1000):
            total += words
        expected = torch.full((4,), max(-1.0, min(1.0, extreme)), dtype=torch.float64)
        torch.testing.assert_close(ring.mean(total, 1000, REFERENCE)["b"], expected, rtol=0, atol=1e-6)


def test_masks_leave_nothing_behind() -> None:
    words = Ring(1.0, 3).encode({name: tensor + 0.1 for name, tensor in REFERENCE.items()}, REFERENCE)
    stream = os.urandom(4 * len(words))
    masked = words.copy()
    add_stream(masked, [stream[:16], stream[16:]])
    assert not np.array_equal(masked, words)
    add_stream(masked, [stream], taken_away=True)
    assert np.array_equal(masked, words)


def test_what_has_no_fixed_point_is_refused() -> None:
    for bound, members in ((0.0, 3), (float("inf"), 3), (1.0, 0)):
        with pytest.raises(Invalid, match="no fixed point"):
            Ring(bound, members)
    with pytest.raises(Invalid, match="NaN"):
        Ring(1.0, 3).encode({**REFERENCE, "b": torch.full((4,), torch.nan)}, REFERENCE)
    with pytest.raises(Invalid, match="lacks"):
        Ring(1.0, 3).encode({"a": REFERENCE["a"]}, REFERENCE)
