"""Averaging updates as they arrive."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from trust.errors import Invalid


class RunningMean:
    """The weighted mean of updates given one at a time (FedAvg, McMahan et al., arXiv:1602.05629).

    Holds one fp64 sum per tensor and no update, whatever their number. fp64 keeps the result independent of the order
    of arrival far below fp32 resolution. With a `reference`, the first update too is held to its names and shapes. Sums and
    result lie on the `shelf`.
    """

    def __init__(self, reference: Mapping[str, Tensor] | None = None, shelf: Shelf = IN_MEMORY) -> None:
        self.weight = 0.0
        self.count = 0
        self._shelf = shelf
        self._sums: dict[str, Tensor] | None = None if reference is None else shelf.zeros(reference, torch.float64)

    def add(self, update: Mapping[str, Tensor], weight: float) -> None:
        """Take in one update; `weight` is commonly its number of tokens. Raises `Invalid`, unchanged, if unfit."""
        if not (math.isfinite(weight) and weight > 0):
            raise Invalid(f"An update cannot weigh {weight}.", "Give a positive number.", field="weight")
        if self._sums is None:
            self._sums = self._shelf.zeros(update, torch.float64)
        check_names_and_shapes(update, self._sums)
        for name, total in self._sums.items():
            total.add_(update[name], alpha=weight)
        self.weight += weight
        self.count += 1

    def result(self) -> dict[str, Tensor]:
        """The mean so far: fp32 tensors, sorted by name. Raises `Invalid` before the first update."""
        if self._sums is None or not self.count:
            raise Invalid("There is no update to average.", "Wait for at least one reply.")
        sums = self._sums
        return self._shelf.filled(sums, lambda name: sums[name] / self.weight)


class MeanOfGivers:
    """The weighted mean of each tensor over the updates that hold it; one that none holds stays as in the `reference`.

    So experts that one member trains keep all of its update, and those that several train get their mean. Holds sums as
    `RunningMean` does.
    """

    def __init__(self, reference: Mapping[str, Tensor], shelf: Shelf = IN_MEMORY) -> None:
        self._reference, self._shelf = reference, shelf
        self._sums = shelf.zeros(reference, torch.float64)
        self._weights: dict[str, float] = {}

    def add(self, update: Mapping[str, Tensor], weight: float) -> None:
        """Take in one update, of some of the reference's tensors. Raises `Invalid`, unchanged, if unfit."""
        if not (math.isfinite(weight) and weight > 0):
            raise Invalid(f"An update cannot weigh {weight}.", "Give a positive number.", field="weight")
        check_names_and_shapes(update, {name: self._reference[name] for name in update if name in self._reference})
        for name, tensor in update.items():
            self._sums[name].add_(tensor, alpha=weight)
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def result(self) -> dict[str, Tensor]:
        """The means so far: fp32, sorted by name. Raises `Invalid` before the first update."""
        if not self._weights:
            raise Invalid("There is no update to average.", "Wait for at least one reply.")
        return self._shelf.filled(self._reference, self._mean)

    def _mean(self, name: str) -> Tensor:
        weight = self._weights.get(name)
        return self._reference[name].clone() if weight is None else self._sums[name] / weight
