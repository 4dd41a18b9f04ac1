"""The mean of clipped changes with noise: what a member adds to it stays within the noise."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from learning.privacy.noise import Random, gaussian
from learning.shelf import IN_MEMORY, Shelf
from learning.updates import check_names_and_shapes
from trust.errors import Invalid

_Tensors = Mapping[str, Tensor]


class PrivateMean:
    """The mean of updates, each brought back to a distance of `clip` (L2, over all tensors) from the `reference`.

    Noise of a standard deviation of `noise` times `clip` is added once, to the sum of the changes, which one member moves by at
    most `clip`: DP-FedAvg with a fixed denominator, McMahan et al., arXiv:1710.06963. Sums and norms are fp64, so the bound is
    exact; sums and result lie on the `shelf`. Of a single update it is what a site gives out that adds its own noise.
    """

    def __init__(
        self, reference: _Tensors, clip: float, noise: float, random: Random, shelf: Shelf = IN_MEMORY
    ) -> None:
        if not (clip > 0 and noise > 0 and math.isfinite(clip * noise)):
            raise Invalid(
                f"A clip of {clip} and noise of {noise} hide nothing.", "Give positive numbers.", field="clip"
            )
        self._reference, self._clip, self._noise, self._random = reference, clip, noise, random
        self._shelf, self._sums = shelf, shelf.zeros(reference, torch.float64)
        self.count = 0

    def add(self, update: _Tensors, weight: float = 1.0) -> None:
        """Take in a member's update. Raises `Invalid`, unchanged, for another weight than 1, other names or shapes, and values
        that are not finite."""
        if weight != 1:
            raise Invalid(f"An update that weighs {weight} is not hidden by noise for one of 1.", field="weight")
        check_names_and_shapes(update, self._reference)
        norm = math.sqrt(sum(float(self._change(update, name).square().sum()) for name in self._reference))
        if not math.isfinite(norm):
            raise Invalid("The update holds NaN or infinity.", "Lower the learning rate.")
        scale = min(1.0, self._clip / norm) if norm else 1.0
        for name in self._reference:
            self._sums[name].add_(self._change(update, name), alpha=scale)
        self.count += 1

    def _change(self, update: _Tensors, name: str) -> Tensor:
        """Of one tensor at a time: of all of them it would be twice the update."""
        return update[name].double() - self._reference[name].double()

    def result(self) -> dict[str, Tensor]:
        """The mean, fp32, sorted by name: once, and the sums are gone, because a second answer would cost as much as the first.

        Raises `Invalid` before the first update.
        """
        if not self.count:
            raise Invalid("There is no update to average.", "Wait for at least one reply.")
        deviation, count, self.count = self._noise * self._clip, self.count, 0

        def mean(name: str) -> Tensor:
            total = self._sums.pop(name)
            total += gaussian(total.numel(), deviation, self._random).view(total.shape)
            return (self._reference[name].double() + total / count).float()

        return self._shelf.filled(self._reference, mean)
