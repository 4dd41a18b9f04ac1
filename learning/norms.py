"""RMSNorm with its own gradient (Zhang and Sennrich, Root Mean Square Layer Normalization, 2019), for every family of models.

`transformers` leaves the gradient to autograd, which keeps two or three fp32 arrays of the input's shape for it and goes over
them nine times. Here the input itself is kept, and one number a row: that takes half the time, or less.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def with_own_gradient(model: nn.Module) -> None:
    """Has all plain RMSNorms of a model computed so where a gradient is wanted. Nothing that is stored changes, and results by
    rounding alone: here it is done once."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
            module.forward = MethodType(_forward, module)


def rms_norm(rows: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Of `rows` [..., width], each divided by the root of its mean square and `epsilon`, times `weight` [width]: in fp32, and
    then in the dtype of the rows."""
    found: Tensor = _RmsNorm.apply(rows, weight, epsilon)  # type: ignore[no-untyped-call]
    return found


def _forward(norm: Any, hidden_states: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        plain: Tensor = type(norm).forward(norm, hidden_states)
        return plain
    return rms_norm(hidden_states, norm.weight, norm.variance_epsilon)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = rows.float()
        scales = wide.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()  # in fp32 to the bit what the class finds
        ctx.save_for_backward(rows, weight, scales)
        return (wide * scales).mul_(weight.float()).to(rows.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, weight, scales = ctx.saved_tensors
        gradient, wide = gradient.float(), weight.float()
        normal = rows.float() * scales
        products = gradient * normal
        along = (products @ wide).div_(rows.shape[-1]).unsqueeze(-1)  # the part that changes a row's length
        to_rows = torch.addcmul(normal.mul_(along).neg_(), gradient, wide).mul_(scales)
        return to_rows.to(rows.dtype), products.flatten(0, -2).sum(0).to(weight.dtype), None
