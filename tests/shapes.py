"""Small model shapes for tests, in the words of the contract."""

from __future__ import annotations

from typing import Any

from protos.documents.architectures import Llama


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
