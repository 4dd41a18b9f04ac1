"""How the learning rate moves over a run."""

from __future__ import annotations

import math

from trust.errors import Invalid


def cosine_with_warmup(step: int, total: int, warmup: int, floor: float) -> float:
    """The fraction of the peak learning rate at `step` (from 0), as in Loshchilov & Hutter, arXiv:1608.03983.

    Rises linearly over `warmup` steps to 1, falls along a half cosine to `floor` at the last step, and stays there.
    Raises `Invalid` for a schedule that cannot be.
    """
    _check(step, total, warmup, floor)
    if step < warmup:
        return (step + 1) / warmup
    falling = max(total - 1 - warmup, 1)
    progress = min((step - warmup) / falling, 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_stable_decay(step: int, total: int, warmup: int, decay: int, floor: float) -> float:
    """The fraction of the peak learning rate at `step` (from 0): Hu et al., MiniCPM, 2024 (arXiv:2404.06395), with the straight
    decay of Haegele et al., 2024 (arXiv:2405.18392).

    Rises linearly over `warmup` steps to 1, stays there, and falls linearly over the last `decay` steps to `floor` at the last,
    where it stays. Raises `Invalid` for a schedule that cannot be.
    """
    _check(step, total, warmup, floor)
    if not 0 <= decay <= total - warmup:
        raise Invalid(
            f"{warmup} warm-up steps and {decay} decay steps do not fit into {total}.", "Keep warmup + decay <= total."
        )
    if step < warmup:
        return (step + 1) / warmup
    left = max(total - 1 - step, 0)
    return 1.0 if left >= decay else floor + (1 - floor) * left / decay


def _check(step: int, total: int, warmup: int, floor: float) -> None:
    if total < 1 or not 0 <= warmup <= total or not 0 <= floor <= 1 or step < 0:
        raise Invalid(
            f"No schedule has step {step} of {total} with {warmup} warm-up steps and floor {floor}.",
            "Keep 0 <= warmup <= total and 0 <= floor <= 1.",
        )
