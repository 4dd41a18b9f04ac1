"""Small model shapes for tests, in the words of the contract."""

from __future__ import annotations

from typing import Any

from protos.documents.architectures import Architecture, Llama, Mistral4, Mixtral, Nemotron, Olmoe

_SMALL: dict[str, Any] = {"vocab_size": 512, "hidden_size": 32, "heads": 2, "context_length": 64}
_SPARSE: dict[str, Any] = _SMALL | {"experts": 4, "experts_per_token": 2, "intermediate_size": 16}
_GROUPED: dict[str, Any] = _SPARSE | {"layers": 2, "kv_heads": 2}
_LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "rope_head_size": 16, "plain_head_size": 16, "value_head_size": 16}
_STATE = {"mamba_heads": 2, "mamba_head_size": 16, "mamba_groups": 2, "state_size": 16, "shared_intermediate_size": 16}
ROUTED: dict[str, tuple[Architecture, int]] = {
    "mixtral": (Mixtral(family="mixtral", **_GROUPED), 2),
    "olmoe": (Olmoe(family="olmoe", **_GROUPED), 2),
    "mistral4": (Mistral4(family="mistral4", layers=2, dense_layers=1, **_SPARSE, **_LATENT), 1),
    "nemotron_h": (Nemotron(family="nemotron_h", pattern="ME*", kv_heads=2, head_size=16, **_SPARSE, **_STATE), 1),
}
"""Families with four experts, each with its number of layers that have them."""


def llama(
    vocabulary: int, hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, context: int, **more: Any
) -> dict[str, Any]:
    """The Hugging Face configuration of a dense decoder, which may be smaller than the contract lets a base model be."""
    shape = Llama.model_construct(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        context_length=context,
        **more,
    )
    return shape.hugging_face()
