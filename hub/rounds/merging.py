"""From a round's averaged adapter to the next model, exported as a folder.

Plainly the change that the mean makes is added to the weights. A strategy with a server's step takes that change for a gradient,
whose step depends on the changes of the rounds before; these are read again from the recorded updates, so that nothing else is
kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hub.rounds.plan import update_file
from learning.aggregation.stepping import Rule, ServerOptimizer
from learning.export import save_model
from learning.objectives.chats import template_of
from learning.trainable import trainable_of
from learning.updates import load_tensors, save_tensors
from learning.weights import moved
from protos.documents.campaigns import CampaignSpec

_RULES: Final[dict[str, Rule]] = {"diloco": "nesterov", "fedadam": "adam", "fedyogi": "yogi"}


class Merger:
    """Makes the models of a campaign's rounds, one after the other."""

    def __init__(self, spec: CampaignSpec) -> None:
        self._trainable = trainable_of(spec.trained())
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
                self._optimizer.take(self._trainable.change(update))

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
        change = self._trainable.change(averaged, model)
        return moved(model, change if self._optimizer is None else self._optimizer.take(change))
