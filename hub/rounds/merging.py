"""From a round's averaged adapter to the next model, exported as a folder.

Plainly the mean is merged: W + (alpha / rank) B A. A strategy with a server's step takes the merged change for a gradient, whose
step depends on the changes of the rounds before; these are read again from the recorded updates, so that nothing else is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hub.rounds.plan import update_file
from learning.adapters import AdapterShape, adapter_state, attach, moved
from learning.aggregation.low_rank import products
from learning.aggregation.stepping import Rule, ServerOptimizer
from learning.export import save_model
from learning.objectives.chats import template_of
from learning.updates import load_tensors, save_tensors
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Adapter

_RULES: Final[dict[str, Rule]] = {"diloco": "nesterov", "fedadam": "adam", "fedyogi": "yogi"}


def shape_of(adapter: Adapter) -> AdapterShape:
    """Of the spec's adapter."""
    return AdapterShape(rank=adapter.rank, alpha=adapter.alpha, targets=adapter.targets)


def change_of(adapter: Adapter, averaged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an averaged adapter adds to each layer: [out, in]. An exact mean's rank is that of all members together, and what it
    adds is scaled as theirs is."""
    scale = adapter.alpha / adapter.rank
    return {layer: scale * product for layer, product in products(averaged).items()}


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
                update = load_tensors(update_file(directory, number).read_bytes())
                self._optimizer.take(change_of(self._adapter, update))

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
        change = change_of(self._adapter, averaged)
        return moved(model, change if self._optimizer is None else self._optimizer.take(change))
