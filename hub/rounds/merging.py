"""From a round's averaged adapter to the next model, exported as a folder.

Plainly the mean is merged: W + (alpha / rank) B A. A strategy with a server's step takes the merged change for a gradient, whose
step depends on the changes of the rounds before; these are read again from the recorded updates, so that nothing else is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hub.rounds.plan import update_file
from learning.adapters import AdapterShape, adapter_state, attach, merge
from learning.aggregation.low_rank import products
from learning.aggregation.stepping import Rule, ServerOptimizer
from learning.export import save_model
from learning.objectives.chats import template_of
from learning.updates import load_tensors, save_tensors
from protos.documents.campaigns import Adapter, CampaignSpec

_RULES: Final[dict[str, Rule]] = {"diloco": "nesterov", "fedadam": "adam", "fedyogi": "yogi"}
_WRAPPED = "base_model.model."
"""What PEFT puts before the name of a layer."""


def shape_of(adapter: Adapter, state: Mapping[str, Tensor] | None = None) -> AdapterShape:
    """Of the spec's adapter; with a `state`, of the rank that it has: an exact mean's rank is that of all members together, and
    what it adds is scaled as theirs is."""
    rank = adapter.rank if state is None else next(a.shape[0] for name, a in state.items() if ".lora_A." in name)
    return AdapterShape(rank=rank, alpha=adapter.alpha * (rank / adapter.rank), targets=adapter.targets)


def starting_adapter(model: PreTrainedModel, adapter: Adapter, seed: int) -> dict[str, Tensor]:
    """The adapter that every site starts the round from; `model` keeps its weights, and is not copied."""
    adapted = attach(model, shape_of(adapter), seed)
    try:
        return adapter_state(adapted)
    finally:
        adapted.unload()


class Merger:
    """Makes the models of a campaign's rounds, one after the other."""

    def __init__(self, spec: CampaignSpec) -> None:
        self._adapter = spec.adapter
        self._chats = spec.objective != "continued-training"
        self._optimizer: ServerOptimizer | None = None
        if spec.server is not None:
            given = spec.server
            self._optimizer = ServerOptimizer(
                _RULES[spec.strategy], given.rate, given.momentum, given.second, given.adaptivity
            )

    def look_back(self, directory: Path, first_round: int) -> None:
        """Remember the rounds before `first_round`, where the strategy depends on them."""
        if self._optimizer is not None:
            for number in range(1, first_round):
                self._optimizer.take(self._change(load_tensors(update_file(directory, number).read_bytes())))

    def write_model(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, averaged: dict[str, Tensor], folder: Path
    ) -> list[Path]:
        """Write `adapter.safetensors` and `model/` into `folder`; the model's files. `model` stays as it is.

        One that learned from conversations gets the chat template that it learned, unless it has one.
        """
        if self._chats and not tokenizer.chat_template:
            tokenizer.chat_template = template_of(tokenizer)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter.safetensors").write_bytes(save_tensors(averaged))
        return save_model(self._merged(model, averaged), tokenizer, folder / "model")

    def _merged(self, model: PreTrainedModel, averaged: dict[str, Tensor]) -> PreTrainedModel:
        if self._optimizer is None:
            return merge(model, shape_of(self._adapter, averaged), averaged)
        return _moved(model, self._optimizer.take(self._change(averaged)))

    def _change(self, averaged: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the averaged adapter adds to each layer: [out, in]."""
        scale = self._adapter.alpha / self._adapter.rank
        return {layer: scale * product for layer, product in products(averaged).items()}


def _moved(model: PreTrainedModel, step: Mapping[str, Tensor]) -> PreTrainedModel:
    """A model whose weights are those of `model` and the `step`, by layer."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for layer, change in step.items():
            moved.get_parameter(f"{layer.removeprefix(_WRAPPED)}.weight").add_(change)
    return moved.eval()
