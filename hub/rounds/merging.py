"""From a round's averaged adapter to the next model, exported as a folder.

Plainly the change that the mean makes is added to the weights. A strategy with a server's step takes that change for a gradient,
whose step depends on the changes of the rounds before; these are read again from the recorded updates, so that nothing else is
kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hub.rounds.plan import update_file
from learning.aggregation.stepping import Rule, ServerOptimizer
from learning.export import save_model
from learning.objectives.chats import template_of
from learning.shelf import IN_MEMORY, Shelf, map_tensors, write_tensors
from learning.trainable import trainable_of
from learning.weights import move
from protos.documents.campaigns import CampaignSpec

_RULES: Final[dict[str, Rule]] = {"diloco": "nesterov", "fedadam": "adam", "fedyogi": "yogi"}


class Merger:
    """Makes the models of a campaign's rounds, one after the other. What it remembers of rounds before lies on the `shelf`."""

    def __init__(self, spec: CampaignSpec, shelf: Shelf = IN_MEMORY) -> None:
        self._spec, self._shelf, self._trainable = spec, shelf, trainable_of(spec.trained())
        self._optimizers: dict[str, ServerOptimizer] = {}  # of each weight: a step of one says nothing of another

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
        return save_model(move(model, self._steps(averaged, model)), tokenizer, folder / "model")

    def _steps(
        self, averaged: Mapping[str, Tensor], model: PreTrainedModel | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """What each weight moves by."""
        for name, change in self._trainable.change(averaged, model):
            optimizer = self._optimizer(name)
            yield name, change if optimizer is None else optimizer.take({name: change})[name]

    def _optimizer(self, name: str) -> ServerOptimizer | None:
        given = self._spec.server
        if given is None:
            return None
        if name not in self._optimizers:
            rule = _RULES[self._spec.strategy]
            self._optimizers[name] = ServerOptimizer(
                rule, given.rate, given.momentum, given.second, given.adaptivity, self._shelf
            )
        return self._optimizers[name]
