"""Scores from per-item likelihoods, against textbook values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from learning.scoring import accuracy, guessing, ratio, score
from trust.errors import Invalid


@dataclass(frozen=True)
class Item:
    log_likelihoods: tuple[float, ...]
    lengths: tuple[int, ...]
    answer: int | None = None
    credit: float | None = None


def test_accuracy_counts_the_likeliest_and_its_error_is_the_samples() -> None:
    likelihoods = [(-1.0, -2.0), (-3.0, -1.0), (-1.0, -1.0), (-5.0, -4.0)]
    answers = [0, 0, 0, 1]
    value, error = accuracy(likelihoods, [(1, 1)] * 4, answers, normalised=False)
    right = [1.0, 0.0, 1.0, 1.0]
    assert value == 0.75
    assert error == pytest.approx(np.std(right, ddof=1) / math.sqrt(4))


def test_normalising_divides_by_the_length() -> None:
    assert accuracy([(-4.0, -6.0)], [(2, 6)], [1], normalised=True)[0] == 1
    assert accuracy([(-4.0, -6.0)], [(2, 6)], [1], normalised=False)[0] == 0


def test_bits_per_byte_is_a_ratio_of_sums_with_a_jackknife_sized_error() -> None:
    chance = np.random.default_rng(0)
    sizes = chance.integers(200, 2000, 400)
    nats = -sizes * chance.normal(1.5, 0.2, 400)
    value, error = ratio((-nats / math.log(2)).tolist(), sizes.tolist())
    assert value == pytest.approx(-nats.sum() / math.log(2) / sizes.sum())
    kept = [(np.delete(nats, i).sum(), np.delete(sizes, i).sum()) for i in range(400)]
    leave_one_out = np.array([-a / math.log(2) / b for a, b in kept])
    jackknife = math.sqrt(399 / 400 * ((leave_one_out - leave_one_out.mean()) ** 2).sum())
    assert error == pytest.approx(jackknife, rel=0.02)


def test_guessing_is_the_mean_chance() -> None:
    assert guessing([2, 4]) == 0.375


def test_score_takes_the_items_of_a_task() -> None:
    items = [Item((-1.0, -2.0), (3, 3), 0), Item((-1.0, -2.0), (3, 3), 1)]
    found = score("acc", items)
    assert (found.value, found.items, found.baseline) == (0.5, 2, 0.5)
    text = score("bits_per_byte", [Item((-math.log(2) * 8,), (4,))])
    assert (text.value, text.items, text.baseline) == (2.0, 1, None)


def test_credits_are_averaged_with_the_error_of_their_mean() -> None:
    worth = [1.0, 0.0, 0.5, 1.0, 0.0]
    found = score("f1", [Item((), (), credit=value) for value in worth])
    assert (found.value, found.items, found.baseline) == (0.5, 5, None)
    assert found.standard_error == pytest.approx(np.std(worth, ddof=1) / math.sqrt(5))
    assert score("exact_match", [Item((), (), credit=1.0)]).standard_error == 0


@pytest.mark.parametrize(
    ("metric", "items"),
    [
        ("acc", []),
        ("bits_per_byte", []),
        ("bits_per_byte", [Item((), (1,))]),
        ("bits_per_byte", [Item((-1.0,), (0,))]),
        ("bits_per_byte", [Item((-1e300,), (1,)), Item((-1.0,), (1,))]),  # beyond what a double can square
        ("acc_norm", [Item((-1.0, -2.0), (1, 0), 0)]),
        ("acc_norm", [Item((-1.0, -2.0), (1,), 0)]),
        ("acc", [Item((-1.0, -2.0), (1, 1))]),
        ("acc", [Item((-1.0, -2.0), (1, 1), 2)]),
        ("perplexity", [Item((-1.0,), (1,))]),
        ("exact_match", []),
        ("exact_match", [Item((-1.0,), (1,))]),
        ("f1", [Item((), (), credit=1.5)]),
        ("f1", [Item((), (), credit=math.nan)]),
    ],
)
def test_items_that_do_not_fit_are_refused(metric: str, items: list[Item]) -> None:
    with pytest.raises(Invalid):
        score(metric, items)
