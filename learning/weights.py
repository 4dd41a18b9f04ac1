"""Weights that train themselves: all of a model's, or those of some of its experts. An update is how far they moved, in fp32.

Of experts, which `transformers` stacks in one parameter [experts, ...], an update holds each for itself: NAME.3 is row 3 of NAME.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from trust.errors import Invalid

_ROUTERS = ("gate.weight", "router.weight")
Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True)
class AllWeights:
    """Of a model, whatever it is made of; tied ones once."""

    needs_weights: ClassVar[bool] = True

    def prepare(self, model: PreTrainedModel, seed: int) -> Moving:
        """`model` itself, all of which trains. The seed decides nothing."""
        model.requires_grad_(True)
        return Moving(model, self._names(model))

    def origin(self, model: PreTrainedModel, seed: int, shelf: Shelf = IN_MEMORY) -> tuple[dict[str, Tensor], float]:
        """What every update of a round starts from: nothing moved; and the norm (L2) that it may move by, which is that of what
        trains."""
        return origin(model, self._names(model))

    def change(
        self, update: Mapping[str, Tensor], model: PreTrainedModel | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """What an update adds to the weights, after their names: itself."""
        return iter(update.items())

    @staticmethod
    def _names(model: PreTrainedModel) -> tuple[str, ...]:
        return tuple(name for name, weight in model.named_parameters() if weight.is_floating_point())


@dataclass(frozen=True)
class ExpertWeights:
    """Of the experts with these numbers in every layer that has experts, and their rows of the routers where `router`."""

    needs_weights: ClassVar[bool] = True
    experts: tuple[int, ...]
    router: bool = False

    def __post_init__(self) -> None:
        if not self.experts:
            raise Invalid("No expert is named that could train.", "Name at least one.", field="experts")

    def prepare(self, model: PreTrainedModel, seed: int) -> Moving:
        """`model` itself, where nothing else trains: what of a stacked weight belongs to others gets no gradient. Raises
        `Invalid` for a model without these experts."""
        names = self._names(model)
        model.requires_grad_(False)
        for name in {_stack(each) for each in names}:
            stack = model.get_parameter(name).requires_grad_(True)
            ours = torch.zeros(len(stack), dtype=stack.dtype, device=stack.device)
            ours[list(self.experts)] = 1
            stack.register_hook(lambda gradient, ours=ours: gradient * ours.view(-1, *[1] * (gradient.ndim - 1)))
        return Moving(model, names)

    def origin(self, model: PreTrainedModel, seed: int, shelf: Shelf = IN_MEMORY) -> tuple[dict[str, Tensor], float]:
        """As `AllWeights.origin`. Raises as `prepare`."""
        return origin(model, self._names(model))

    def change(
        self, update: Mapping[str, Tensor], model: PreTrainedModel | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """As `AllWeights.change`."""
        return iter(update.items())

    def _names(self, model: PreTrainedModel) -> tuple[str, ...]:
        stacks = list(_stacks(model, self.router))
        if not stacks:
            raise Invalid("The model has no experts: it is dense.", "Train an adapter, or all of it.", field="experts")
        fewest = min(count for _, count in stacks)
        if max(self.experts) >= fewest:
            raise Invalid(
                f"The model has experts 0 to {fewest - 1}, and no {max(self.experts)}.", "Name others.", field="experts"
            )
        return tuple(sorted(f"{name}.{expert}" for name, _ in stacks for expert in self.experts))


@dataclass(frozen=True)
class Moving:
    """A model of which the weights with these names train; an update is how far they are from where they were."""

    model: PreTrainedModel
    names: tuple[str, ...]
    _before: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._before.update({name: weight_at(self.model, name).detach().clone() for name in self.names})

    @property
    def start(self) -> dict[str, Tensor]:
        """Before it trained: nothing moved."""
        return {name: _nothing(self._before[name].shape) for name in sorted(self.names)}

    def state(self) -> dict[str, Tensor]:
        """On the CPU, sorted by name."""
        moved = {name: weight_at(self.model, name).detach() - self._before[name] for name in sorted(self.names)}
        return {name: tensor.to("cpu", torch.float32) for name, tensor in moved.items()}

    @torch.no_grad()
    def load(self, update: Mapping[str, Tensor]) -> None:
        """Put the weights where the update moves them. Raises `Invalid` unless names and shapes are exactly theirs."""
        check_names_and_shapes(update, self._before)
        for name, before in self._before.items():
            weight_at(self.model, name).copy_(before + update[name].to(before))

    @contextmanager
    def as_it_was(self) -> Iterator[None]:
        """In which the model computes what it did before it trained."""
        moved = {name: weight_at(self.model, name).detach().clone() for name in self.names}
        self._put(self._before)
        try:
            yield
        finally:
            self._put(moved)

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in weights.items():
            weight_at(self.model, name).copy_(weight)


def origin(model: PreTrainedModel, names: Iterable[str]) -> tuple[dict[str, Tensor], float]:
    """Of a round in which the weights of these names train: no change of any, which takes no memory; and their norm (L2)."""
    weights = {name: weight_at(model, name).detach() for name in sorted(names)}
    squares = (float(torch.linalg.vector_norm(weight.float())) ** 2 for weight in weights.values())
    return {name: _nothing(weight.shape) for name, weight in weights.items()}, math.sqrt(sum(squares))


def moved(model: Model, change: Iterable[tuple[str, Tensor]]) -> Model:
    """A model whose weights are those of `model` plus the `change` of each [as the weight], after its name. `model` itself
    stays as it is."""
    return cast(Model, move(copy.deepcopy(model), change).eval())


def move(model: Model, change: Iterable[tuple[str, Tensor]]) -> Model:
    """As `moved`, but `model` itself: no copy of it is made, and of the change as much is looked at as a weight takes."""
    with torch.no_grad():
        for name, added in change:
            weight_at(model, name).add_(added)
    return model


def weight_at(model: nn.Module, name: str) -> Tensor:
    """The weight of this name, or the part of a stacked one that is an expert's; what is written there is the model's. Raises
    `Invalid` where there is none."""
    try:
        return model.get_parameter(name)
    except AttributeError:
        stack, _, row = name.rpartition(".")
        try:
            return model.get_parameter(stack)[int(row)]
        except (AttributeError, ValueError, IndexError):
            raise Invalid(f"The model has no weight {name[:200]}.", field=name[:200]) from None


def of_experts(update: Mapping[str, Tensor], experts: Iterable[int]) -> dict[str, Tensor]:
    """Of an update of experts, those with these numbers."""
    wanted = {str(number) for number in experts}
    return {name: tensor for name, tensor in update.items() if name.rpartition(".")[2] in wanted}


def _stack(name: str) -> str:
    return name.rpartition(".")[0]


def _nothing(shape: torch.Size) -> Tensor:
    """Zeros of fp32 that take no memory; not to be written to."""
    return torch.zeros(()).expand(shape)


def _stacks(model: PreTrainedModel, router: bool) -> Iterator[tuple[str, int]]:
    """(name, experts) of each weight in which the experts of a layer are stacked, and of each router's beside them, which has a
    row for each, where wanted."""
    for prefix, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        count = getattr(module, "num_experts", 0)
        if not any(weight.ndim == 3 and len(weight) == count for weight in own.values()):
            continue
        yield from ((f"{prefix}.{name}", count) for name, weight in own.items() if len(weight) == count)
        beside = prefix.rpartition(".")[0]
        for name, weight in model.get_submodule(beside).named_parameters() if router else ():
            if name in _ROUTERS and len(weight) == count:
                yield f"{beside}.{name}", count
