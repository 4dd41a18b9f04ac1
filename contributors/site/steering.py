"""SCAFFOLD at a site: every local step is led from where our own gradients point to where all members' do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from peft import PeftModel
from torch import Tensor, nn

from learning.adapters import factors_b, hold_a
from learning.objectives.steadying import correct, next_control
from learning.updates import check_names_and_shapes, load_tensors
from protos.documents.rounds import CONTROL
from trust.errors import Invalid


@dataclass(frozen=True)
class Steer:
    """Our own control variate and the common one, of each B [out, rank], and the parameters that they are of."""

    own: Mapping[str, Tensor]
    common: Mapping[str, Tensor]
    parameters: tuple[tuple[str, nn.Parameter], ...]

    def correct(self) -> None:
        """Between the way back and a step of plain gradient descent."""
        correct(self.parameters, self.own, self.common)

    def after(
        self, start: Mapping[str, Tensor], end: Mapping[str, Tensor], steps: int, rate: float
    ) -> dict[str, Tensor]:
        """Our own one after the round's steps, which moved the adapter from `start` to `end`."""
        return next_control(self.own, self.common, factors_b(start), factors_b(end), steps, rate)


def steer(
    model: PeftModel, start: Mapping[str, Tensor], files: Mapping[str, bytes], own: Mapping[str, Tensor] | None
) -> Steer:
    """Let B alone train. `own` is None before our first update counted. Raises `Invalid` for a common one that does not fit."""
    still = {name: torch.zeros_like(tensor) for name, tensor in factors_b(start).items()}
    return Steer(_fitting(own, still) if own else still, _fitting(load_tensors(files[CONTROL]), still), hold_a(model))


def _fitting(tensors: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    check_names_and_shapes(tensors, reference)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise Invalid("A control variate holds NaN or infinity.", field=CONTROL)
    return tensors
