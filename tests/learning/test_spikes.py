"""What counts as a spike in a loss."""

from __future__ import annotations

import math
import random

from learning.spikes import judge


def falling(count: int, seed: int = 0) -> list[float]:
    """A loss as training has it: falling, with noise."""
    noise = random.Random(seed)
    return [2 + 5 / (1 + step / 20) + noise.gauss(0, 0.05) for step in range(count)]


def test_a_falling_noisy_loss_is_calm_all_along() -> None:
    for seed in range(20):
        losses = falling(400, seed)
        assert {judge(losses[:n], 8) for n in range(len(losses) + 1)} == {"calm"}


def test_one_high_value_is_rising_and_two_are_a_spike() -> None:
    losses = falling(100)
    assert judge([*losses, 6.0], 8) == "rising"
    assert judge([*losses, 6.0, 6.5], 8) == "spike"
    assert judge([*losses, 6.0, losses[-1]], 8) == "calm"
    assert judge([*losses, 6.0, 6.5], 100) == "calm"


def test_no_finite_number_is_a_spike_at_once() -> None:
    assert judge([math.nan], 8) == judge([*falling(30), math.inf], 8) == "spike"


def test_nothing_is_unusual_before_the_usual_is_known() -> None:
    assert judge([2.0] * 9 + [50.0, 50.0], 8) == "calm"
    assert judge([2.0] * 10 + [50.0, 50.0], 8) == "spike"


def test_a_loss_that_hardly_moves_may_move_a_little() -> None:
    assert judge([2.0] * 30 + [2.05, 2.05], 8) == "calm"
    assert judge([2.0] * 30 + [2.1, 2.1], 8) == "spike"
