"""Greedy decoding in batches: rows of similar length together, with a cache, and whoever has finished leaves the batch.

In fp32: a step reads all weights for a few tokens, and turning them into bf16 each time costs more than it saves. HFLM decodes
until the last row of a batch has finished, and turns the end of every row into text once per stop string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, LlamaForCausalLM

TOKENS_AT_ONCE = 16_384
ROWS_AT_ONCE = 64

Stopped = Callable[[Sequence[int]], bool]
"""Whether what was said so far holds something to stop at."""


def batches(prompts: Sequence[Sequence[int]], new: int) -> Iterator[list[int]]:
    """Positions of prompts, the longest first, in batches of bounded size with `new` tokens each to come."""
    batch: list[int] = []
    for position in sorted(range(len(prompts)), key=lambda each: len(prompts[each]), reverse=True):
        width = len(prompts[batch[0]]) + new if batch else 0
        if batch and (len(batch) == ROWS_AT_ONCE or width * (len(batch) + 1) > TOKENS_AT_ONCE):
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


@torch.inference_mode()
def decode(
    model: LlamaForCausalLM,
    prompts: Sequence[Sequence[int]],
    new: int,
    ends: set[int],
    stopped: Stopped,
) -> list[list[int]]:
    """What the model says after each prompt: at most `new` tokens, up to an end token (left out) or until `stopped`."""
    width = max(map(len, prompts))
    tokens = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    said: list[list[int]] = [[] for _ in prompts]
    going = list(range(len(prompts)))
    cache = DynamicCache(config=model.config)
    for step in range(new):
        chosen = _likeliest(model, tokens, mask, positions, cache)
        kept = []
        for place, (row, token) in enumerate(zip(going, chosen.tolist(), strict=True)):
            if token in ends:
                continue
            said[row].append(token)
            if not stopped(said[row]):
                kept.append(place)
        if not kept or step == new - 1:
            break
        if len(kept) < len(going):
            index = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(index)
            going, chosen, mask, positions = [going[i] for i in kept], chosen[index], mask[index], positions[index]
        tokens = chosen[:, None]
        mask = torch.cat([mask, torch.ones_like(tokens)], 1)
        positions = positions[:, -1:] + 1
    return said


def _likeliest(model: LlamaForCausalLM, tokens: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
    hidden = model.model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state
    return torch.as_tensor(model.lm_head(hidden[:, -1]).float().argmax(1))
