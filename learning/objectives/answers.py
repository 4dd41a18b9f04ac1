"""How likely a model finds the tokens that count, without ever holding the logits of a whole batch.

The head runs over those positions alone whose next token counts, some hundred at a time, and once more on the way back (Chen et
al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174). The largest array is [`AT_ONCE`, vocabulary].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from learning.likelihood import target_losses
from learning.objectives.rows import Rows
from trust.errors import Invalid

AT_ONCE = 256
"""Positions that go through the head together."""
_BEYOND_HEAD = ("final_logit_softcapping", "logits_scaling", "logit_scale")


def answer_losses(model: Any, rows: Rows, temperature: float = 1.0) -> Tensor:
    """The cross entropy of every token that counts, in nats: fp32 [batch, length], 0 where none counts. The negative of its log
    likelihood; a gradient flows back to whatever of `model` (a causal language model, also under PEFT) requires one. Logits are
    divided by `temperature`: what sampling at it finds likely.

    Raises `Invalid` for a model whose logits are more than its head's.
    """
    body, head = _parts(model)
    hidden = body(input_ids=rows.ids, position_ids=rows.places, use_cache=False).last_hidden_state
    asked = rows.counted.roll(-1, 1)  # the first of a row never counts, so nothing comes around
    sampled = head if temperature == 1 else lambda part: head(part) / temperature
    each = losses_after(hidden[asked], rows.ids.roll(-1, 1)[asked], sampled)
    before = torch.zeros(rows.ids.shape, dtype=torch.float32, device=each.device).masked_scatter(asked, each)
    return before.roll(1, 1)


def losses_after(hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """The cross entropies, fp32 [n], of `targets` int64 [n] after `hidden` [n, width], of which `head` makes logits."""
    if not len(targets):
        return hidden.sum(-1).float()

    def some(part: Tensor, wanted: Tensor) -> Tensor:
        return target_losses(head(part), wanted)

    parts = zip(torch.split(hidden, AT_ONCE), torch.split(targets, AT_ONCE), strict=True)
    return torch.cat([checkpoint(some, part, wanted, use_reentrant=False) for part, wanted in parts])


def _parts(model: Any) -> tuple[Callable[..., Any], Callable[[Tensor], Tensor]]:
    plain: PreTrainedModel = model.get_base_model() if hasattr(model, "get_base_model") else model
    if any(getattr(plain.config, name, None) not in (None, 1, 1.0) for name in _BEYOND_HEAD):
        raise Invalid("The model's logits are scaled or capped behind its head.", "Choose another base model.")
    return plain.get_decoder(), plain.get_output_embeddings()
