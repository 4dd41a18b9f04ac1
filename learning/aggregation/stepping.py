"""The step that the server takes with a round's mean: plain, with Nesterov momentum, or adaptive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from trust.errors import Invalid


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


Rule = Literal["nesterov", "adam", "yogi"]


@dataclass
class ServerOptimizer:
    """Turns a round's mean change into the step that the server takes, and remembers what the rounds before were like.

    `momentum` is Nesterov's, or Adam's and Yogi's first beta; `second` their second one. See `outer_step`, `adaptive_step`. What
    it remembers lies on the `shelf`.
    """

    rule: Rule
    rate: float
    momentum: float = 0.9
    second: float = 0.99
    adaptivity: float = 1e-3
    shelf: Shelf = IN_MEMORY
    _velocity: dict[str, Tensor] | None = None
    _moments: Moments | None = None

    def take(self, change: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The step for this round's change, of the same names and shapes. Every round's change must be given, in order."""
        still = {name: torch.zeros_like(tensor) for name, tensor in change.items()}
        if self.rule == "nesterov":
            step, velocity = outer_step(still, change, self._velocity, self.rate, self.momentum)
            self._velocity = self._kept(velocity)
        else:
            betas = (self.momentum, self.second)
            step, moments = adaptive_step(still, change, self._moments, self.rule, self.rate, betas, self.adaptivity)
            self._moments = Moments(self._kept(moments.first), self._kept(moments.second))
        return step

    def _kept(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.shelf.filled(tensors, tensors.__getitem__)


@dataclass(frozen=True)
class Moments:
    """What an adaptive server optimizer remembers between rounds; of the model's names and shapes."""

    first: dict[str, Tensor]
    second: dict[str, Tensor]


def adaptive_step(
    current: Mapping[str, Tensor],
    mean: Mapping[str, Tensor],
    moments: Moments | None,
    kind: Literal["adam", "yogi"],
    rate: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.99),
    adaptivity: float = 1e-3,
) -> tuple[dict[str, Tensor], Moments]:
    """(next, moments): FedAdam's or FedYogi's step from `current` towards the sites' `mean`. Reddi et al., arXiv:2003.00295,
    algorithm 2, without bias correction as there.

    Keep `moments` for the next round; None starts with a second moment of `adaptivity` squared. Raises `Invalid` for other names
    or shapes and for numbers that no step can be made with.
    """
    if not (rate > 0 and adaptivity > 0 and all(0 <= beta < 1 for beta in betas)):
        raise Invalid(
            "A server optimizer needs a rate and adaptivity above 0, and betas from 0 to below 1.", field="rate"
        )
    check_names_and_shapes(mean, current)
    if moments is None:
        moments = Moments(
            {name: torch.zeros_like(tensor) for name, tensor in current.items()},
            {name: torch.full_like(tensor, adaptivity**2) for name, tensor in current.items()},
        )
    after, first, second = {}, {}, {}
    for name in sorted(current):
        change = mean[name] - current[name]
        square, before = change.square(), moments.second[name]
        first[name] = betas[0] * moments.first[name] + (1 - betas[0]) * change
        towards = square - before if kind == "adam" else square * (square - before).sign()
        second[name] = before + (1 - betas[1]) * towards
        after[name] = current[name] + rate * first[name] / (second[name].sqrt() + adaptivity)
    return after, Moments(first, second)
