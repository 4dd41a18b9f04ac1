"""From a round's averaged adapter to the next model: W + (alpha / rank) B A, exported as a folder."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from learning.adapters import AdapterShape, adapter_state, attach, merge
from learning.export import save_model
from learning.updates import save_tensors
from protos.documents.campaigns import Adapter


def shape_of(adapter: Adapter) -> AdapterShape:
    return AdapterShape(rank=adapter.rank, alpha=adapter.alpha, targets=adapter.targets)


def starting_adapter(model: PreTrainedModel, adapter: Adapter, seed: int) -> dict[str, Tensor]:
    """The adapter that every site starts the round from; `model` stays as it is."""
    return adapter_state(attach(copy.deepcopy(model), shape_of(adapter), seed))


def write_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    adapter: Adapter,
    averaged: dict[str, Tensor],
    folder: Path,
) -> list[Path]:
    """Write `adapter.safetensors` and `model/` into `folder`; the model's files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter.safetensors").write_bytes(save_tensors(averaged))
    return save_model(merge(model, shape_of(adapter), averaged), tokenizer, folder / "model")
