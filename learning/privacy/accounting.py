"""What noise costs in (epsilon, delta), exactly.

A value that a member can move by at most `clip` (L2), given out with Gaussian noise of a standard deviation of `noise` times
`clip`, is told from the same value without the member no better than N(0, 1) from N(mu, 1), where mu is 1 / `noise`. So are many
such values together, also when what is asked depends on earlier answers, with the root of the sum of the squares of their mu:
Dong, Roth and Su, "Gaussian Differential Privacy", arXiv:1905.02383, corollary 3.3 and theorem 2.7; a budget that stops in time
holds for noise and order that are chosen on the way: Smith and Thakurta, arXiv:2210.17520. All members are asked in every round,
so nothing is gained by sampling, and the curve of (epsilon, delta) is known in closed form: Balle and Wang, arXiv:1805.06530,
theorem 8. It is never above what accountants by Rényi divergence give.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from trust.errors import Invalid

_STEPS = 100
_LARGEST = 700.0
"""Of epsilon, so that its exponential is a number; beyond, the second term of `delta` is left out, which only adds to it."""


def mu_of(answers: Iterable[tuple[int, float]]) -> float:
    """The mu of all answers together, given as (how many, the noise multiplier that each has). Raises `Invalid` for no noise."""
    return math.sqrt(math.fsum(count / _positive(noise, "noise") ** 2 for count, noise in answers))


def delta_of(epsilon: float, mu: float) -> float:
    """The smallest delta for which what is told by `mu` is (epsilon, delta)-private; never less than it is."""
    if mu == 0:
        return 0.0
    first = _below(mu / 2 - epsilon / mu)
    if epsilon > _LARGEST:
        return first
    return max(0.0, first - math.exp(epsilon) * _below(-mu / 2 - epsilon / mu))


def epsilon_of(mu: float, delta: float) -> float:
    """The smallest epsilon for which what is told by `mu` is (epsilon, delta)-private; never less than it is.

    Raises `Invalid` for a delta that is not between 0 and 1.
    """
    if not 0 < delta < 1:
        raise Invalid(f"A delta of {delta} says nothing.", "Give more than 0, less than 1.", field="delta")
    if delta_of(0.0, mu) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of(high, mu) > delta:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu) > delta else (low, middle)
    return high


def _below(x: float) -> float:
    """How often a standard Gaussian is below `x`."""
    return math.erfc(-x / math.sqrt(2)) / 2


def _positive(noise: float, field: str) -> float:
    if not noise > 0:
        raise Invalid(f"Noise of {noise} hides nothing.", "Give a positive number.", field=field)
    return noise
