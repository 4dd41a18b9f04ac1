"""Low-rank adapters (LoRA, Hu et al., arXiv:2106.09685): what a site trains and what travels in a campaign."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from trust.errors import Invalid

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_ADAPTER = "default"
_B = ".lora_B.weight"
_WRAPPED = "base_model.model."
"""What PEFT puts before the name of a layer."""
Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True)
class AdapterShape:
    """Rank r and alpha (the product B A is scaled by alpha / rank) on every linear layer named in `targets`."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = ALL_LINEAR
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise Invalid(f"An adapter of rank {self.rank} holds nothing.", "Give at least 1.", field="rank")
        if not self.alpha > 0:
            raise Invalid(f"The adapter's alpha is {self.alpha}.", "Give a positive number.", field="alpha")
        if not self.targets:
            raise Invalid("The adapter names no layer.", "Name at least one, such as q_proj.", field="targets")
        if not 0 <= self.dropout < 1:
            raise Invalid(f"The adapter's dropout is {self.dropout}.", "Give 0 or more, below 1.", field="dropout")


def attach(model: PreTrainedModel, shape: AdapterShape, seed: int) -> PeftModel:
    """Wrap `model` (in place) so that only its adapter trains.

    With a fresh adapter it computes what it did before. The same seed gives the same start at every site. Raises
    `Invalid` where no layer has one of the names.
    """
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        target_modules=list(shape.targets),
        lora_dropout=shape.dropout,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(model, config, adapter_name=_ADAPTER)
        except ValueError as error:
            raise Invalid(
                f"The adapter does not fit the model: {error}", "Check `targets`.", field="targets"
            ) from error


def _adapter_parameters(model: PeftModel) -> Iterator[tuple[str, nn.Parameter]]:
    """(name, parameter) of the adapter alone; names are those of a PEFT adapter file."""
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            yield name.replace(f".{_ADAPTER}.", "."), parameter


def adapter_state(model: PeftModel, shelf: Shelf = IN_MEMORY) -> dict[str, Tensor]:
    """A copy of the adapter's tensors on the `shelf`: fp32 on the CPU, sorted by name. A is [rank, in], B is [out, rank]."""
    named = dict(_adapter_parameters(model))
    return shelf.filled(named, lambda name: named[name].detach().to("cpu", torch.float32, copy=True))


def factors_b(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The B [out, rank] of each layer, under its name in an adapter file."""
    return {name: tensor for name, tensor in adapter.items() if name.endswith(_B)}


def hold_a(model: PeftModel) -> tuple[tuple[str, nn.Parameter], ...]:
    """Let B alone train; its parameters, by their names in an adapter file."""
    parameters = tuple(_adapter_parameters(model))
    for name, parameter in parameters:
        parameter.requires_grad_(name.endswith(_B))
    return tuple((name, parameter) for name, parameter in parameters if name.endswith(_B))


def load_adapter_state(model: PeftModel, state: Mapping[str, Tensor]) -> None:
    """Copy `state` into the model's adapter. Raises `Invalid` unless names and shapes are exactly the adapter's."""
    parameters = dict(_adapter_parameters(model))
    check_names_and_shapes(state, parameters)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


def moved(model: Model, change: Mapping[str, Tensor]) -> Model:
    """A model whose weights are those of `model` plus the `change` of each layer [out, in], under the layers' names in an adapter
    file. `model` itself stays as it is."""
    return cast(Model, move(copy.deepcopy(model), change.items()).eval())


def move(model: Model, change: Iterable[tuple[str, Tensor]]) -> Model:
    """As `moved`, but `model` itself: no copy of it is made, and of the change as much is looked at as a layer takes."""
    with torch.no_grad():
        for layer, added in change:
            model.get_parameter(f"{layer.removeprefix(_WRAPPED)}.weight").add_(added)
    return model
