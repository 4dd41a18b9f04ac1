"""When a loss has jumped, from the series alone. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal

Verdict = Literal["calm", "rising", "spike"]
WINDOW = 50
"""Values that say what is usual."""
_LEAST = 10  # of them before anything can be unusual
_PATIENCE = 2  # values in a row
_TO_DEVIATION = 1.4826  # from the median absolute deviation, where values are normally distributed
_SMALLEST = 0.005  # of the median: a loss that hardly moves has no deviation to speak of


def judge(losses: Sequence[float], deviations: float) -> Verdict:
    """Of the newest values of a loss, oldest first: `spike` where the last two stand more than so many standard deviations above
    the median of those before, or the last is no finite number; `rising` where the last one alone does.

    Deviations are measured by the median absolute deviation (Iglewicz & Hoaglin, 1993), which a spike does not move.
    """
    if losses and not math.isfinite(losses[-1]):
        return "spike"
    usual = losses[:-_PATIENCE][-WINDOW:]
    if len(usual) < _LEAST:
        return "calm"
    middle = median(usual)
    spread = _TO_DEVIATION * median(abs(loss - middle) for loss in usual)
    limit = middle + deviations * max(spread, _SMALLEST * abs(middle))
    high = [loss > limit for loss in losses[-_PATIENCE:]]
    if all(high):
        return "spike"
    return "rising" if high[-1] else "calm"
