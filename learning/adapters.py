"""Low-rank adapters: LoRA (Hu et al., arXiv:2106.09685), and DoRA (Liu et al., arXiv:2402.09353), which trains beside the factors
how long each row of a weight is.

LoRA's weight is W + s B A, with s = alpha / rank. DoRA's is m (W + s B A) / |W + s B A|, row by row, with one magnitude m a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from learning.aggregation.low_rank import each_product
from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from trust.errors import Invalid

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_ADAPTER = "default"
_B, _MAGNITUDE = ".lora_B.weight", ".lora_magnitude_vector"
_FURTHEST = 10.0
"""How far an update may move, in lengths of the factors that it started from."""
_WRAPPED = "base_model.model."
"""What PEFT puts before the name of a layer."""


@dataclass(frozen=True)
class AdapterShape:
    """Rank r and alpha (the product B A is scaled by alpha / rank) on every linear layer named in `targets`; of DoRA where
    `magnitudes` train."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = ALL_LINEAR
    dropout: float = 0.0
    magnitudes: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise Invalid(f"An adapter of rank {self.rank} holds nothing.", "Give at least 1.", field="rank")
        if not self.alpha > 0:
            raise Invalid(f"The adapter's alpha is {self.alpha}.", "Give a positive number.", field="alpha")
        if not self.targets:
            raise Invalid("The adapter names no layer.", "Name at least one, such as q_proj.", field="targets")
        if not 0 <= self.dropout < 1:
            raise Invalid(f"The adapter's dropout is {self.dropout}.", "Give 0 or more, below 1.", field="dropout")

    def prepare(self, model: PreTrainedModel, seed: int) -> Adapted:
        """As `attach`."""
        return Adapted(attach(model, self, seed))

    @property
    def needs_weights(self) -> bool:
        """Whether `origin` depends on the model's weights; on its shapes in any case."""
        return self.magnitudes

    def origin(self, model: PreTrainedModel, seed: int, shelf: Shelf = IN_MEMORY) -> tuple[dict[str, Tensor], float]:
        """What every update of a round starts from, on the `shelf`, and the norm (L2) that it may move by; `model` keeps its
        weights, and is not copied. Magnitudes are as long as the weights themselves, and would say nothing of how far is far."""
        adapted = attach(model, self, seed)
        try:
            start = adapter_state(adapted, shelf)
        finally:
            adapted.unload()
        squares = (float(tensor.double().square().sum()) for name, tensor in start.items() if _MAGNITUDE not in name)
        return start, _FURTHEST * math.sqrt(sum(squares))

    def change(
        self, adapter: Mapping[str, Tensor], model: PreTrainedModel | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """What an adapter adds to each weight [out, in], fp32, after the weight's name, one after the other: together they are as
        large as the model. An exact mean's rank is that of all members together, and what it adds is scaled as theirs is. With
        magnitudes it depends on the `model` that it is added to."""
        if self.magnitudes and model is None:
            raise Invalid("What DoRA changes cannot be told without the model that it changes.", field="model")
        for layer, product in each_product(adapter):
            name, added = _weight(layer), product.mul_(self.alpha / self.rank)
            if model is not None and self.magnitudes:
                before = model.get_parameter(name).detach().float()
                added = _of_length(before + added, adapter[layer + _MAGNITUDE]) - before
            yield name, added


@dataclass(frozen=True)
class Adapted:
    """A model whose adapter trains; an update is the adapter."""

    model: PeftModel

    @property
    def start(self) -> dict[str, Tensor]:
        """Before it trained."""
        return adapter_state(self.model)

    def state(self) -> dict[str, Tensor]:
        return adapter_state(self.model)

    def load(self, update: Mapping[str, Tensor]) -> None:
        load_adapter_state(self.model, update)

    def as_it_was(self) -> AbstractContextManager[object]:
        """In which the model computes what it did before it trained."""
        found: AbstractContextManager[object] = self.model.disable_adapter()
        return found


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
        use_dora=shape.magnitudes,
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
            plain = name.replace(f".{_ADAPTER}.", ".")
            yield plain.removesuffix(".weight") if _MAGNITUDE in plain else plain, parameter


def adapter_state(model: PeftModel, shelf: Shelf = IN_MEMORY) -> dict[str, Tensor]:
    """A copy of the adapter's tensors on the `shelf`: fp32 on the CPU, sorted by name. A is [rank, in], B is [out, rank], a
    magnitude [out]."""
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


def _weight(layer: str) -> str:
    """The name of a layer's weight in the model itself, of the layer's in an adapter file."""
    return f"{layer.removeprefix(_WRAPPED)}.weight"


def _of_length(rows: Tensor, lengths: Tensor) -> Tensor:
    """Each of `rows` [out, in] brought to its length [out]."""
    norms = torch.linalg.vector_norm(rows, dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    found: Tensor = rows * (lengths / norms).unsqueeze(1)
    return found
