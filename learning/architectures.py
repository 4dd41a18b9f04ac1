"""The shapes of base models the coalition trains, and how a shape becomes a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from learning.tokenizer import END_OF_TEXT_ID
from trust.errors import Invalid


@dataclass(frozen=True)
class LlamaShape:
    """A dense Llama decoder. Sizes are counts of units; `context_length` is in tokens.

    Raises `Invalid` where the sizes do not fit each other.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    context_length: int
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "context_length")
        for field in sizes:
            if getattr(self, field) < 1:
                raise Invalid(f"The model's {field} is {getattr(self, field)}.", "Give at least 1.", field=field)
        if self.hidden_size % (2 * self.heads):
            raise Invalid(
                f"hidden_size {self.hidden_size} does not split into {self.heads} heads of even width.",
                "Choose hidden_size as a multiple of twice the number of heads.",
                field="hidden_size",
            )
        if self.heads % self.kv_heads:
            raise Invalid(
                f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly.",
                "Choose kv_heads as a divisor of heads.",
                field="kv_heads",
            )


def _config(shape: LlamaShape) -> LlamaConfig:
    # No pad_token_id: torch freezes the embedding row of a padding index, and row 0 is also the begin/end token.
    return LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context_length,
        tie_word_embeddings=shape.tie_embeddings,
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
        pad_token_id=None,
        rms_norm_eps=1e-5,
    )


def build_model(shape: LlamaShape, seed: int) -> LlamaForCausalLM:
    """A fresh fp32 model that `shape` and `seed` alone decide; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: LlamaForCausalLM = LlamaForCausalLM(_config(shape)).to(torch.float32)
        return fresh


def parameter_count(shape: LlamaShape) -> int:
    """The number of distinct parameters (a tied embedding counts once), found without allocating them."""
    with torch.device("meta"):
        model = LlamaForCausalLM(_config(shape))
    return sum(int(parameter.numel()) for parameter in model.parameters())
