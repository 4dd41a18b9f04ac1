"""From a round's averaged adapter to the next model, exported as a folder.

Plainly the mean is merged: W + (alpha / rank) B A. A strategy with a server's step takes the merged change for a gradient, whose
step depends on the changes of the rounds before; these are read again from the recorded updates, so that nothing else is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hub.rounds.plan import update_file
from learning.adapters import AdapterShape, adapter_state, attach, move
from learning.aggregation.low_rank import each_product
from learning.aggregation.stepping import Rule, ServerOptimizer
from learning.export import save_model
from learning.objectives.chats import template_of
from learning.shelf import IN_MEMORY, Shelf, map_tensors, write_tensors
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Adapter

_RULES: Final[dict[str, Rule]] = {"diloco": "nesterov", "fedadam": "adam", "fedyogi": "yogi"}


def shape_of(adapter: Adapter) -> AdapterShape:
    """Of the spec's adapter."""
    return AdapterShape(rank=adapter.rank, alpha=adapter.alpha, targets=adapter.targets)


def change_of(adapter: Adapter, averaged: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What an averaged adapter adds to each layer, one after the other: [out, in]. An exact mean's rank is that of all members
    together, and what it adds is scaled as theirs is."""
    scale = adapter.alpha / adapter.rank
    return ((layer, product.mul_(scale)) for layer, product in each_product(averaged))


def starting_adapter(
    model: PreTrainedModel, adapter: Adapter, seed: int, shelf: Shelf = IN_MEMORY
) -> dict[str, Tensor]:
    """The adapter that every site starts the round from, on the `shelf`; `model` keeps its weights, and is not copied."""
    adapted = attach(model, shape_of(adapter), seed)
    try:
        return adapter_state(adapted, shelf)
    finally:
        adapted.unload()


class Merger:
    """Makes the models of a campaign's rounds, one after the other. What it remembers of rounds before lies on the `shelf`."""

    def __init__(self, spec: CampaignSpec, shelf: Shelf = IN_MEMORY) -> None:
        self._spec, self._shelf = spec, shelf
        self._optimizers: dict[str, ServerOptimizer] = {}  # of each layer: a step of one says nothing of another

    def look_back(self, directory: Path, first_round: int) -> None:
        """Remember the rounds before `first_round`, where the strategy depends on them."""
        if self._spec.server is not None:
            for number in range(1, first_round):
                for _ in self._steps(map_tensors(update_file(directory, number))):
                    pass

    def write_model(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, averaged: dict[str, Tensor], folder: Path
    ) -> list[Path]:
        """Write `adapter.safetensors` and `model/` into `folder`; the model's files. `model` becomes the next one, not a copy.

        One that learned from conversations gets the chat template that it learned, unless it has one.
        """
        if self._spec.objective != "continued-training" and not tokenizer.chat_template:
            tokenizer.chat_template = template_of(tokenizer)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(averaged, folder / "adapter.safetensors")
        return save_model(move(model, self._steps(averaged)), tokenizer, folder / "model")

    def _steps(self, averaged: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """What each layer moves by."""
        for layer, change in change_of(self._spec.adapter, averaged):
            optimizer = self._optimizer(layer)
            yield layer, change if optimizer is None else optimizer.take({layer: change})[layer]

    def _optimizer(self, layer: str) -> ServerOptimizer | None:
        given = self._spec.server
        if given is None:
            return None
        if layer not in self._optimizers:
            rule = _RULES[self._spec.strategy]
            self._optimizers[layer] = ServerOptimizer(
                rule, given.rate, given.momentum, given.second, given.adaptivity, self._shelf
            )
        return self._optimizers[layer]
