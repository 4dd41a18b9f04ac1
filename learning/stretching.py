"""Rotary positions stretched for sequences longer than those that a model was trained on."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from trust.errors import Invalid

_FULL = "full_attention"  # the layers of a model with sliding windows that see everything


def stretch(model: PreTrainedModel, original: int, length: int) -> None:
    """Make positions of `original` tokens reach `length`: Peng et al., YaRN, 2023. Configuration and model change together, so
    that what is saved loads with the same positions. Doing it twice is doing it once.

    In models that mix sliding windows with full attention, only the latter is stretched, as OLMo 3 (2025) does. Raises `Invalid`
    for a model without rotary positions of this kind.
    """
    decoder, rope = model.base_model, getattr(model.config, "rope_parameters", None)
    rotary = getattr(decoder, "rotary_emb", None)
    if rotary is None or not rope:
        raise Invalid(f"The positions of {model.config.model_type} cannot be stretched.", "Train without.")
    values = rope.get(_FULL, rope)
    values |= {"rope_type": "yarn", "factor": length / original, "original_max_position_embeddings": original}
    if getattr(model.config, "head_dim", 0) is None:  # Mixtral's says so, and YaRN multiplies with it
        model.config.head_dim = model.config.hidden_size // model.config.num_attention_heads
    device = next(model.parameters()).device
    fresh: Any = type(rotary)(config=model.config)
    decoder.rotary_emb = fresh.to(device)
