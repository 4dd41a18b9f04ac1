"""Batches of preferences: what each of two answers to a prompt is worth to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from learning.objectives.answers import answer_losses
from learning.objectives.rows import Sample, one_each, shortened


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. `better` is how much higher the chosen one was scored; 0 where nobody said."""

    chosen: Sample
    rejected: Sample
    better: float = 0.0

    @property
    def tokens(self) -> int:
        return len(self.chosen.ids) + len(self.rejected.ids)


def cut(pair: Pair, length: int) -> Pair | None:
    """The pair with both answers' rows cut to `length` tokens; None where nothing of one of the answers remains."""
    chosen, rejected = (shortened(sample, length) for sample in (pair.chosen, pair.rejected))
    return Pair(chosen, rejected, pair.better) if chosen is not None and rejected is not None else None


def log_likelihoods(model: Any, pairs: Sequence[Pair], filler: int) -> tuple[Tensor, Tensor]:
    """Of the chosen and of the rejected answers, in nats, whole: fp32 [pairs] each. One pass over both."""
    rows = one_each([*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)], filler)
    whole = -answer_losses(model, rows.to(next(model.parameters()).device)).sum(1)
    return whole[: len(pairs)], whole[len(pairs) :]
