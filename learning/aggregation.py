"""Averaging updates as they arrive, and the step the server takes with the average."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from learning.updates import check_names_and_shapes
from trust.errors import Invalid


class RunningMean:
    """The weighted mean of updates given one at a time (FedAvg, McMahan et al., arXiv:1602.05629).

    Holds one fp64 sum per tensor and no update, whatever their number. fp64 keeps the result independent of the order
    of arrival far below fp32 resolution. With a `reference`, the first update too is held to its names and shapes.
    """

    def __init__(self, reference: Mapping[str, Tensor] | None = None) -> None:
        self.weight = 0.0
        self.count = 0
        self._sums: dict[str, Tensor] | None = None if reference is None else _zeros_like(reference)

    def add(self, update: Mapping[str, Tensor], weight: float) -> None:
        """Take in one update; `weight` is commonly its number of tokens. Raises `Invalid`, unchanged, if unfit."""
        if not (math.isfinite(weight) and weight > 0):
            raise Invalid(f"An update cannot weigh {weight}.", "Give a positive number.", field="weight")
        if self._sums is None:
            self._sums = _zeros_like(update)
        check_names_and_shapes(update, self._sums)
        for name, total in self._sums.items():
            total.add_(update[name], alpha=weight)
        self.weight += weight
        self.count += 1

    def result(self) -> dict[str, Tensor]:
        """The mean so far: fp32 tensors, sorted by name. Raises `Invalid` before the first update."""
        if self._sums is None or not self.count:
            raise Invalid("There is no update to average.", "Wait for at least one reply.")
        return {name: (self._sums[name] / self.weight).to(torch.float32) for name in sorted(self._sums)}


def _zeros_like(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros(tensor.shape, dtype=torch.float64) for name, tensor in tensors.items()}


def outer_step(
    current: Mapping[str, Tensor],
    mean: Mapping[str, Tensor],
    velocity: Mapping[str, Tensor] | None = None,
    rate: float = 1.0,
    momentum: float = 0.0,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(next, velocity): one server step from `current` towards the sites' `mean`.

    Nesterov momentum as in DiLoCo, arXiv:2311.08105. With rate 1 and momentum 0 the next state is the mean itself. Keep
    `velocity` for the next round; None starts at rest.
    """
    check_names_and_shapes(mean, current)
    after: dict[str, Tensor] = {}
    moving: dict[str, Tensor] = {}
    for name in sorted(current):
        change = mean[name] - current[name]
        before = torch.zeros_like(change) if velocity is None else velocity[name]
        moving[name] = momentum * before + change
        after[name] = current[name] + rate * (momentum * moving[name] + change)
    return after, moving
