"""Whether two models that answered the same items can be told apart: the difference of their scores, paired item by item.

A score's own standard error says how far it would move with other items. Two models that meet the same items move
together, so their difference is known better than either score; it is judged here by the items' differences alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from learning.scoring import LOWER_IS_BETTER, Item, worth
from trust.errors import Invalid

RESAMPLES = 10_000
"""Of the items for the interval, and of signs for the test."""
LEVEL = 0.95
"""Of the interval; and below the rest of it, an adjusted p tells two models apart."""
_SEED = 20_260_101
"""Chance is the same for everybody, so that everybody comes to the same numbers."""
_AT_ONCE = 1 << 20

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """`gain` is the second's score less the first's, the other way round where lower is better: above 0 the second is better.

    `low` and `high` bound it at `LEVEL`, `p` is two-sided. `wins` are the items on which the second was worth more.
    """

    gain: float
    low: float
    high: float
    p: float
    test: str
    wins: int
    losses: int
    ties: int


def gains(metric: str, first: Sequence[Item], second: Sequence[Item]) -> tuple[list[float], list[float]]:
    """(by how much the second is better, what the item counts) of each item: the score's gain is the ratio of their sums.

    Raises `Invalid` for two sets of items that are not the same.
    """
    if len(first) != len(second) or not first:
        raise Invalid("The two were not scored on the same items.")
    pairs = [(worth(metric, a), worth(metric, b)) for a, b in zip(first, second, strict=True)]
    if any(a[1] != b[1] for a, b in pairs):
        raise Invalid("The two were not scored on the same items.")
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    return [sign * (b[0] - a[0]) for a, b in pairs], [a[1] for a, _ in pairs]


def difference(gained: Sequence[float], sizes: Sequence[float]) -> Difference:
    """What `gains` amount to.

    The interval is the percentile bootstrap's over items (Efron and Tibshirani 1993, chapter 13). Where every item is right
    or wrong, p is McNemar's exact one (Biometrika 34, 1947): of the items on which the two differ, each is a fair coin if
    they are equally good. Otherwise it is Fisher's randomisation test: if they are equally good, each item's difference has
    either sign as likely. Raises `Invalid` without items.
    """
    found, counted = np.asarray(gained, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if not len(found) or counted.sum() <= 0:
        raise Invalid("There is no item to compare by.")
    wins, losses = int((found > 0).sum()), int((found < 0).sum())
    chance = np.random.default_rng(_SEED)
    low, high = _bootstrap(found, counted, chance)
    binary = bool(np.isin(found, (-1.0, 0.0, 1.0)).all() and (counted == 1).all())
    p, test = (_mcnemar(wins, losses), "McNemar") if binary else (_randomisation(found, chance), "randomisation")
    gain = float(found.sum() / counted.sum())
    return Difference(gain, low, high, p, test, wins, losses, len(found) - wins - losses)


def holm(values: Sequence[float]) -> list[float]:
    """Each p adjusted for having looked at all of them (Holm, Scand. J. Statist. 6, 1979): whatever depends on what, the chance
    that any difference is called one which is none stays below the level."""
    adjusted, reached, count = [0.0] * len(values), 0.0, len(values)
    for rank, place in enumerate(sorted(range(count), key=lambda index: values[index])):
        reached = max(reached, min(1.0, (count - rank) * values[place]))
        adjusted[place] = reached
    return adjusted


def _mcnemar(wins: int, losses: int) -> float:
    count = wins + losses
    tail, term = 0, 1
    for chosen in range(min(wins, losses) + 1):
        tail += term
        term = term * (count - chosen) // (chosen + 1)
    return min(1.0, 2 * tail / (1 << count))


def _bootstrap(found: Floats, counted: Floats, chance: np.random.Generator) -> tuple[float, float]:
    drawn: list[Floats] = []
    for rows in parts_of(RESAMPLES, len(found)):
        picked = chance.integers(0, len(found), (rows, len(found)))
        drawn.append(found[picked].sum(axis=1) / np.maximum(counted[picked].sum(axis=1), 1e-300))
    rest = (1 - LEVEL) / 2
    low, high = np.quantile(np.concatenate(drawn), (rest, 1 - rest))
    return float(low), float(high)


def _randomisation(found: Floats, chance: np.random.Generator) -> float:
    differing = found[found != 0]
    if not len(differing):
        return 1.0
    seen = abs(float(differing.sum())) * (1 - 1e-12)  # sums in another order are not further away
    further = sum(
        int((np.abs(_signs(chance, rows, len(differing)) @ differing) >= seen).sum())
        for rows in parts_of(RESAMPLES, len(differing))
    )
    return (further + 1) / (RESAMPLES + 1)


def _signs(chance: np.random.Generator, rows: int, columns: int) -> Floats:
    return chance.integers(0, 2, (rows, columns)).astype(np.float64) * 2 - 1


def parts_of(resamples: int, items: int) -> list[int]:
    """How many resamples at a time, so that memory does not grow with their number."""
    at_once = max(1, _AT_ONCE // items)
    whole, rest = divmod(resamples, at_once)
    return [at_once] * whole + [rest] * math.ceil(rest / at_once)
