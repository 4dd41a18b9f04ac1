"""Muon: momentum, made orthogonal, for the matrices of a model; AdamW for the rest of it.

Jordan et al., Muon, 2024 (kellerjordan.github.io/posts/muon): Nesterov momentum whose singular values a quintic Newton-Schulz
iteration brings near 1. Liu et al., Muon is scalable for LLM training, 2025 (arXiv:2502.16982): the update scaled to AdamW's
usual root mean square, so that both share a learning rate and a weight decay, and parts of matrices gathered for the iteration
alone (algorithm 1).

DeepSpeed 0.19.8 has a Muon of its own. It is not used: under ZeRO 1 and 2 it clips the orthogonal update to the gradient's norm,
keeps bf16 momentum where gradients are bf16, and has no scale that AdamW's learning rates fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from transformers import PreTrainedModel

MOMENTUM = 0.95
ITERATIONS = 5
RMS = 0.2  # of AdamW's updates, as Liu et al. measured it
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_SMALLEST = 1e-7

Gather = Callable[[Tensor], Tensor]
"""The equal parts of all ranks, one after the other: [world * n] from this rank's [n]."""


def orthogonal(matrices: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """[..., rows, columns] with nearly the same singular vectors, and singular values between 0.7 and 1.2, in its dtype."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + _SMALLEST)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    made: Tensor = x.mT if tall else x
    return made


def takes(model: PreTrainedModel) -> Callable[[nn.Parameter], bool]:
    """Whether a parameter of the model is a matrix that Muon moves (those of experts are stacked: [experts, rows, columns]):
    not embeddings and output, and depthwise filters are no matrices."""
    ends = {id(module.weight) for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module}
    return lambda parameter: parameter.ndim > 1 and id(parameter) not in ends and min(parameter.shape[-2:]) > 1


def muon_groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    """Trainable parameters: matrices for Muon, with their shapes; for AdamW others with, vectors without decay."""
    taken = takes(model)
    matrices, others, vectors = [], [], []
    for parameter in (p for p in model.parameters() if p.requires_grad):
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif taken(parameter):
            matrices.append(parameter)
        else:
            others.append(parameter)
    shapes = [tuple(parameter.shape) for parameter in matrices]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay, "shapes": shapes},
        {"params": others, "weight_decay": weight_decay, "shapes": None},
        {"params": vectors, "weight_decay": 0.0, "shapes": None},
    ]
    return [group for group in groups if group["params"]]


class Muon(torch.optim.Optimizer):
    """For the groups of `muon_groups`. The learning rate is AdamW's.

    A group of matrices may be given as one vector in place of its parameters, which are then laid out in it in the order of its
    `shapes`: this rank's equal part of them, as DeepSpeed's ZeRO 1 and 2 make it; `gather` and `rank` find the whole. Momentum
    has the parameter's dtype and place; the iteration runs in `dtype`, in which parts are also exchanged.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        gather: Gather = lambda part: part,
        rank: int = 0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self._gather, self._rank, self._dtype = gather, rank, dtype
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "shapes": None})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                move = self._adamw if group["shapes"] is None else self._muon
                move(parameter, parameter.grad, group)

    def _muon(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM).to(self._dtype)
        update = _scaled(ahead) if parameter.ndim > 1 else self._part(ahead, group["shapes"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.to(parameter.dtype), alpha=-group["lr"])

    def _part(self, part: Tensor, shapes: list[tuple[int, ...]]) -> Tensor:
        """The update of this rank's part, from the whole of every matrix that reaches into it."""
        whole, update = self._gather(part), torch.zeros_like(part)
        begin, offset = self._rank * len(part), 0
        for shape in shapes:
            size = math.prod(shape)
            first, last = max(offset, begin), min(offset + size, begin + len(part))
            if first < last:
                made = _scaled(whole[offset : offset + size].view(shape)).flatten()
                update[first - begin : last - begin] = made[first - offset : last - offset]
            offset += size
        return update

    def _adamw(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        adamw(
            [parameter],
            [gradient],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _scaled(matrices: Tensor) -> Tensor:
    """Orthogonal, with AdamW's root mean square whatever the shape (Liu et al., equation 4)."""
    return orthogonal(matrices) * (RMS * math.sqrt(max(matrices.shape[-2:])))
