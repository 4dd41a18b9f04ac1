"""Paired comparison of two models: against scipy's tests, and against what must hold of any of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from learning.comparison import difference, gains, holm
from learning.scoring import score
from trust.errors import Invalid


@dataclass(frozen=True)
class Item:
    log_likelihoods: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    answer: int | None = None
    credit: float | None = None


def choice(right: bool) -> Item:
    return Item((-1.0, -2.0), (1, 1), 0 if right else 1)


def credited(values: Sequence[float]) -> list[Item]:
    return [Item(credit=value) for value in values]


def test_right_and_wrong_are_judged_by_mcnemars_exact_test() -> None:
    first = [choice(right) for right in [True] * 40 + [False] * 14 + [True] * 4]
    second = [choice(right) for right in [True] * 40 + [True] * 14 + [False] * 4]
    found = difference(*gains("acc", first, second))
    assert (found.wins, found.losses, found.ties, found.test) == (14, 4, 40, "McNemar")
    assert found.p == pytest.approx(stats.binomtest(4, 18).pvalue)
    assert found.gain == pytest.approx(score("acc", second).value - score("acc", first).value)
    assert found.low < found.gain < found.high


def test_credits_are_judged_by_the_signs_of_their_differences() -> None:
    chance = np.random.default_rng(1)
    first = chance.uniform(0.2, 0.6, 12)
    second = first + chance.normal(0.03, 0.05, 12)
    found = difference(*gains("f1", credited(first), credited(second)))
    every = [np.dot(second - first, 1 - 2 * np.array(list(np.binary_repr(i, 12)), dtype=int)) for i in range(2**12)]
    exact = np.mean(np.abs(every) >= abs((second - first).sum()) - 1e-12)
    assert found.test == "randomisation"
    assert found.p == pytest.approx(exact, abs=0.015)


def test_the_interval_is_as_wide_as_the_differences_errors_say() -> None:
    chance = np.random.default_rng(2)
    first = chance.uniform(0.1, 0.5, 800)
    second = first + chance.uniform(-0.1, 0.3, 800)
    found = difference(*gains("f1", credited(first), credited(second)))
    error = float(np.std(second - first, ddof=1)) / math.sqrt(800)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_lower_bits_per_byte_are_a_gain_weighed_by_the_texts_bytes() -> None:
    first = [Item((-math.log(2) * bits,), (size,)) for bits, size in ((80, 40), (10, 10))]
    second = [Item((-math.log(2) * bits,), (size,)) for bits, size in ((60, 40), (15, 10))]
    found = difference(*gains("bits_per_byte", first, second))
    assert found.gain == pytest.approx(score("bits_per_byte", first).value - score("bits_per_byte", second).value)
    assert (found.wins, found.losses) == (1, 1)


def test_models_that_do_not_differ_are_not_told_apart() -> None:
    same = difference(*gains("f1", credited([0.5, 0.25]), credited([0.5, 0.25])))
    assert (same.gain, same.low, same.high, same.p, same.ties) == (0, 0, 0, 1, 2)


def test_under_no_difference_few_are_called_one() -> None:
    chance = np.random.default_rng(3)
    drawn = [chance.normal(0, 1, 60) for _ in range(200)]
    assert np.mean([difference(values.tolist(), [1] * 60).p < 0.05 for values in drawn]) < 0.1


@given(some.lists(some.tuples(some.booleans(), some.booleans()), min_size=1, max_size=30))
def test_whoever_is_first_loses_what_the_other_gains(answers: list[tuple[bool, bool]]) -> None:
    first, second = [choice(a) for a, _ in answers], [choice(b) for _, b in answers]
    there, back = difference(*gains("acc", first, second)), difference(*gains("acc", second, first))
    assert (there.gain, there.p, there.wins, there.losses) == (-back.gain, back.p, back.losses, back.wins)
    assert 0 < there.p <= 1
    assert there.low <= there.gain <= there.high


def test_other_items_cannot_be_compared() -> None:
    with pytest.raises(Invalid, match="same items"):
        gains("f1", credited([1]), credited([1, 0]))
    with pytest.raises(Invalid, match="same items"):
        gains("bits_per_byte", [Item((-1.0,), (5,))], [Item((-1.0,), (6,))])


def test_looking_at_many_tasks_costs_certainty() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
