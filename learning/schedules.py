"""How the learning rate moves over a run."""

from __future__ import annotations

import math

from trust.errors import Invalid


def cosine_with_warmup(step: int, total: int, warmup: int, floor: float) -> float:
    """The fraction of the peak learning rate at `step` (from 0), as in Loshchilov & Hutter, arXiv:1608.03983.

    Rises linearly over `warmup` steps to 1, falls along a half cosine to `floor` at the last step, and stays there.
    Raises `Invalid` for a schedule that cannot be.
    """
    if total < 1 or not 0 <= warmup <= total or not 0 <= floor <= 1 or step < 0:
        raise Invalid(
            f"No schedule has step {step} of {total} with {warmup} warm-up steps and floor {floor}.",
            "Keep 0 <= warmup <= total and 0 <= floor <= 1.",
        )
    if step < warmup:
        return (step + 1) / warmup
    falling = max(total - 1 - warmup, 1)
    progress = min((step - warmup) / falling, 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
