"""How good an update is, by text that nobody trained on: a number that anybody with the same text computes again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from learning.packing import pack
from learning.pretraining import block_loss
from learning.tokenizer import END_OF_TEXT_ID, encode_documents
from learning.trainable import Trainable
from trust.errors import Invalid

_AT_ONCE = 4


def held_out_blocks(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], length: int, most: int) -> Tensor:
    """The first blocks of tokens of these texts, at most so many: int64 [n, length]. Raises `Invalid` where not one is full."""
    documents, tokens = [], 0
    for ids in encode_documents(tokenizer, texts):
        documents.append(ids)
        tokens += len(ids) + 1
        if tokens >= most * length:
            break
    blocks = pack(iter(documents), length, END_OF_TEXT_ID)[:most]
    if not len(blocks):
        raise Invalid(
            f"The held-out text does not fill one block of {length} tokens.", "Name a dataset with more text."
        )
    return torch.from_numpy(blocks.astype("int64"))


class Yardstick:
    """Measures updates of one kind on one model, by `blocks` [n, length] of held-out text. `model` becomes a part of it."""

    def __init__(self, model: PreTrainedModel, trainable: Trainable, blocks: Tensor) -> None:
        self._prepared = trainable.prepare(model, seed=0)  # which computes what the model does
        self._prepared.model.eval()
        self._blocks = blocks
        self._before = self._loss()

    def quality(self, update: Mapping[str, Tensor]) -> float:
        """The text's perplexity without the update over that with it: above 1 where it helps, 0 where it breaks the model.

        Raises `Invalid` for other names or shapes.
        """
        self._prepared.load(update)
        gain = self._before - self._loss()
        return math.exp(min(gain, 50.0)) if math.isfinite(gain) else 0.0

    @torch.no_grad()
    def _loss(self) -> float:
        """Nats per token."""
        parts = torch.split(self._blocks, _AT_ONCE)
        return sum(float(block_loss(self._prepared.model, part)) * len(part) for part in parts) / len(self._blocks)
