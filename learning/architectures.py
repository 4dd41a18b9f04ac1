"""How a Hugging Face configuration becomes a model to train: dense, with experts, or a hybrid with state space layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, Mistral4ForCausalLM, PreTrainedConfig, PreTrainedModel

from learning.experts import by_segments
from learning.norms import with_own_gradient
from learning.tokenizer import END_OF_TEXT_ID
from trust.errors import Invalid

_NOT_IN_AUTO = {"mistral4": Mistral4ForCausalLM}
"""`transformers` 5.23 has the class but no causal language model of it under AutoModelForCausalLM."""


def configuration(values: Mapping[str, Any]) -> PreTrainedConfig:
    """The configuration of `values["model_type"]`, with this coalition's token that begins and ends a text.

    Raises `Invalid` for a type or values that `transformers` does not take.
    """
    # No pad_token_id: torch freezes the embedding row of a padding index, and row 0 is also the begin/end token.
    ends = {"bos_token_id": END_OF_TEXT_ID, "eos_token_id": END_OF_TEXT_ID, "pad_token_id": None}
    rest = {key: value for key, value in values.items() if key != "model_type"}
    try:
        found: PreTrainedConfig = AutoConfig.for_model(values["model_type"], **rest, **ends)
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise Invalid(
            f"There is no model of this shape: {str(error).splitlines()[0]}", "Check the architecture."
        ) from None
    return found


def build_model(values: Mapping[str, Any], seed: int) -> PreTrainedModel:
    """A fresh fp32 model that the configuration `values` and `seed` alone decide; the global random state is left as it was.

    Code of ours multiplies its experts on processors.
    """
    config = configuration(values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: PreTrainedModel = shell(config).to(torch.float32)
        by_segments(fresh)
        return fresh


def shell(config: PreTrainedConfig) -> PreTrainedModel:
    """The model as torch's present defaults make it: device, dtype, or no memory at all under `torch.device("meta")`. Where it
    learns, code of ours computes its norms; what is stored of it is as public tools know it."""
    build = _NOT_IN_AUTO.get(config.model_type, AutoModelForCausalLM.from_config)
    try:
        model: PreTrainedModel = build(config)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise Invalid(
            f"There is no model of this shape: {str(error).splitlines()[0]}", "Check the architecture."
        ) from None
    with_own_gradient(model)
    return model
