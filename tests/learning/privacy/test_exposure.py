"""How well a secret is known."""

from __future__ import annotations

import math
import random

import pytest

from learning.privacy.exposure import UNKNOWN, exposure
from trust.errors import Invalid


def test_the_most_that_can_be_told_is_which_one_it_is() -> None:
    assert exposure(0.1, [1.0] * 1023) == 10
    assert exposure(2.0, [1.0] * 1023) == 0
    assert exposure(1.0, [0.5] * 3 + [2.0] * 1020) == 8


def test_a_model_that_tells_nothing_apart_knows_nothing() -> None:
    assert exposure(1.0, [1.0] * 1023) == pytest.approx(1, abs=0.01)


def test_a_secret_that_was_never_seen_comes_to_the_known_mean() -> None:
    draw = random.Random(7).random
    found = [exposure(draw(), [draw() for _ in range(255)]) for _ in range(2000)]
    assert sum(found) / len(found) == pytest.approx(UNKNOWN, abs=0.15)


def test_losses_without_order_are_refused() -> None:
    with pytest.raises(Invalid, match="rank"):
        exposure(math.nan, [1.0])
