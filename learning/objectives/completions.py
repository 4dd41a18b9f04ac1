"""What a model says after a prompt, drawn from its whole vocabulary: a token's likelihood is the one that it was drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig


@dataclass(frozen=True)
class Sampling:
    """At most `most` new tokens, drawn at `temperature`; `end` is the token that ends a completion and belongs to it."""

    temperature: float
    most: int
    end: int


def complete(model: Any, prompt: Sequence[int], count: int, how: Sampling) -> list[tuple[int, ...]]:
    """`count` completions of a prompt (token ids), each of 1 to `how.most` tokens, under torch's present random state.

    `model` is a causal language model, also under PEFT, in evaluation mode. What its folder says about generation (other ends,
    cut distributions) does not count. All completions of a prompt go together and no other with them, so none is padded in
    front; memory holds the keys and values of `count` rows.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    plain.generation_config = GenerationConfig()
    asked = GenerationConfig(
        do_sample=True,
        temperature=how.temperature,
        top_k=0,
        top_p=1.0,
        max_new_tokens=how.most,
        eos_token_id=how.end,
        pad_token_id=how.end,
        use_cache=True,
    )
    ids = torch.tensor([list(prompt)] * count, device=next(plain.parameters()).device)
    with torch.no_grad():
        said = plain.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=asked)
    return [_ended(row, how.end) for row in said[:, len(prompt) :].tolist()]


def _ended(tokens: list[int], end: int) -> tuple[int, ...]:
    """To the first end, which counts; what follows is filling."""
    return tuple(tokens[: tokens.index(end) + 1] if end in tokens else tokens)
