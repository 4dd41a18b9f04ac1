"""The exact mean of low-rank adapters.

What an adapter adds to a weight is the product B A, and the mean of products is not the product of means: averaging A and B apart
adds terms of every member's B with every other's A. Here the factors are stacked instead, so that their product is the mean of
the products (FLoRA, Wang et al., arXiv:2409.05976).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from trust.errors import Invalid

_A, _B = ".lora_A.weight", ".lora_B.weight"


class LowRankMean:
    """The weighted mean of adapters given one at a time, which may be of different ranks but must scale B A alike.

    Holds every adapter's factors, which together are small beside a model, and never a matrix of a layer's size. Weights are
    parts of the `whole`, by itself of their sum: where they come to less, so does what is averaged. The result lies on the
    `shelf`.
    """

    def __init__(self, whole: float | None = None, shelf: Shelf = IN_MEMORY) -> None:
        self.weight, self._whole, self._shelf = 0.0, whole, shelf
        self.count = 0
        self._taken: list[tuple[float, dict[str, Tensor]]] = []

    def add(self, adapter: Mapping[str, Tensor], weight: float) -> None:
        """Take in one adapter: A [rank, in] and B [out, rank] of every layer, under the names of a PEFT adapter file.

        Raises `Invalid`, unchanged, for anything else and for layers other than those of the adapters before.
        """
        if not (math.isfinite(weight) and weight > 0):
            raise Invalid(f"An update cannot weigh {weight}.", "Give a positive number.", field="weight")
        shapes = _shapes(adapter)
        if self._taken:
            check_names_and_shapes(shapes, _shapes(self._taken[0][1]))
        self._taken.append((weight, {name: tensor.to(torch.float32) for name, tensor in adapter.items()}))
        self.weight += weight
        self.count += 1

    def result(self) -> dict[str, Tensor]:
        """The mean, exactly, as one adapter whose rank is the sum of all ranks: fp32, sorted by name.

        Raises `Invalid` before the first adapter.
        """
        if not self._taken:
            raise Invalid("There is no update to average.", "Wait for at least one reply.")
        found = self._shelf.zeros({name: self._outline(name) for name in sorted(self._taken[0][1])})
        for name, place in found.items():
            axis, at = (0 if name.endswith(_A) else 1), 0
            for weight, adapter in self._taken:
                factor = adapter[name]
                part = place.narrow(axis, at, factor.shape[axis]).copy_(factor)
                at += factor.shape[axis]
                if axis:
                    part.mul_(weight / (self._whole or self.weight))
        return found

    def _outline(self, name: str) -> Tensor:
        """Of a factor's shape, all adapters stacked, without memory."""
        return torch.cat([adapter[name].to("meta") for _, adapter in self._taken], 0 if name.endswith(_A) else 1)


def products(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an adapter adds to each layer, but for its scale: B A [out, in], fp32, by layer."""
    return dict(each_product(adapter))


def each_product(adapter: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """As `products`, one after the other: together they are as large as the model."""
    for layer in [name.removesuffix(_A) for name in sorted(adapter) if name.endswith(_A)]:
        yield layer, adapter[layer + _B].float() @ adapter[layer + _A].float()


def _shapes(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For every factor an empty tensor of its side that does not depend on the rank. Raises `Invalid` unless all are in pairs."""
    found = {}
    for name, tensor in adapter.items():
        other = name.removesuffix(_A) + _B if name.endswith(_A) else name.removesuffix(_B) + _A
        if other not in adapter or tensor.ndim != 2 or adapter[other].ndim != 2:
            raise Invalid(
                f"{name[:200]} is not a factor of a low-rank adapter.", "Send A and B of each layer.", field="A"
            )
        wide, tall = (adapter[other], tensor) if name.endswith(_B) else (tensor, adapter[other])
        if wide.shape[0] != tall.shape[1]:
            raise Invalid(f"A and B beside {name[:200]} have different ranks.", "Send them as trained.", field="A")
        found[name] = tensor[:0] if name.endswith(_A) else tensor[:, :0]
    return found
