"""How well a model knows a secret that somebody planted: Carlini et al., "The Secret Sharer", arXiv:1802.08232."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trust.errors import Invalid

UNKNOWN = 1 / math.log(2)
"""The exposure, in the mean, of a secret that the model has never seen: its rank is any, all the same."""


def exposure(secret: float, others: Sequence[float]) -> float:
    """Bits by which guessing is shortened: log2 of the candidates, less log2 of the secret's rank among them (definition 5).

    `secret` is its loss, `others` are those of secrets that could have been in its place; of equal ones half come first. The most
    that can be told is log2 of all candidates. Raises `Invalid` for a loss that is no number.
    """
    if not all(math.isfinite(loss) for loss in (secret, *others)):
        raise Invalid("A loss is NaN or infinite, so nothing has a rank.", field="others")
    before = sum(loss < secret for loss in others) + sum(loss == secret for loss in others) / 2
    return math.log2(len(others) + 1) - math.log2(1 + before)
