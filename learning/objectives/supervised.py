"""Supervised fine-tuning: the model learns to say what counts, which is the assistant's part."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from learning.objectives.answers import answer_losses
from learning.objectives.rows import Rows
from trust.errors import Invalid


def supervised_loss(model: Any, rows: Rows) -> Tensor:
    """The mean cross entropy over all tokens of the batch that count, in nats: scalar fp32. What `transformers` finds for labels
    of -100 elsewhere. Raises `Invalid` where nothing counts."""
    count = int(rows.counted.sum())
    if not count:
        raise Invalid("No token of the batch counts.", "Give conversations in which the assistant says something.")
    return answer_losses(model, rows).sum() / count
