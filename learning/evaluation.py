"""How well a model predicts text, in a unit that does not depend on its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from learning.tokenizer import encode_documents
from trust.errors import Invalid

_TOKENS_AT_ONCE = 4096
_IGNORED = -100  # cross_entropy's ignore_index


@dataclass(frozen=True)
class _Window:
    tokens: list[int]
    context: int  # leading tokens that are given and not scored


def bits_per_byte(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Iterable[str],
    max_length: int,
    stride: int,
) -> tuple[float, int]:
    """(nats, bytes): the total negative log likelihood of `texts` and their total UTF-8 length.

    Each text begins after the begin token. Texts over `max_length` tokens are scored in windows that advance by
    `stride`, so that every token is scored once and, past the first window, with at least `max_length - stride`
    tokens before it. `to_bits_per_byte` gives the ratio; sums over parts may be added first.
    """
    if not 1 <= stride < max_length:
        raise Invalid(f"The stride {stride} does not fit windows of {max_length}.", "Keep 1 <= stride < max_length.")
    documents = list(texts)
    windows: list[_Window] = []
    for ids in encode_documents(tokenizer, documents):
        windows.extend(_windows([tokenizer.bos_token_id, *ids], max_length, stride))
    model.eval()
    with torch.inference_mode():
        nats = sum(_nats(model, batch) for batch in _batched(windows))
    return nats, sum(len(text.encode()) for text in documents)


def to_bits_per_byte(nats: float, total_bytes: int) -> float:
    """Nats over bytes as bits per byte. Raises `Invalid` where there is no text."""
    if total_bytes < 1:
        raise Invalid("There is no text to measure on.", "Give at least one byte.")
    return nats / math.log(2) / total_bytes


def _windows(tokens: list[int], max_length: int, stride: int) -> Iterator[_Window]:
    """Windows that score each token but the first exactly once."""
    scored = 1
    while scored < len(tokens):
        end = min(max_length if scored == 1 else scored + stride, len(tokens))
        begin = max(0, end - max_length)
        yield _Window(tokens[begin:end], scored - begin)
        scored = end


def _batched(windows: list[_Window]) -> Iterator[list[_Window]]:
    """Windows of similar length together, at most `_TOKENS_AT_ONCE` tokens with padding (or one window)."""
    batch: list[_Window] = []
    for window in sorted(windows, key=lambda each: len(each.tokens), reverse=True):
        if batch and len(batch[0].tokens) * (len(batch) + 1) > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def _nats(model: PreTrainedModel, batch: list[_Window]) -> float:
    """The summed loss of a batch. Padding stands on the right, where causal attention cannot see it."""
    longest = max(len(window.tokens) for window in batch)
    inputs = torch.zeros(len(batch), longest, dtype=torch.int64)
    targets = torch.full((len(batch), longest), _IGNORED, dtype=torch.int64)
    for row, window in enumerate(batch):
        tokens = torch.tensor(window.tokens)
        inputs[row, : len(tokens)] = tokens
        targets[row, window.context : len(tokens)] = tokens[window.context :]
    logits: Tensor = model(input_ids=inputs.to(model.device), use_cache=False).logits
    predicted = logits[:, :-1].float().flatten(0, 1)
    wanted = targets[:, 1:].flatten().to(predicted.device)
    return float(functional.cross_entropy(predicted, wanted, ignore_index=_IGNORED, reduction="sum"))
