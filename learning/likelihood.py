"""The cross entropy of the next token, and its gradient, in one pass over the logits.

Autograd would keep four more arrays of the logits' shape, most of them in fp32, and go over them twice. Here the gradient is
computed as soon as the loss is known, a few rows at a time in fp32, and takes the place of the logits, which nobody needs any
more (Hsu et al., Liger Kernel, 2024, section 3.2; here without a kernel of its own, so on every kind of device).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_AT_ONCE, _PARTS = 1 << 18, 64
"""Logits that are made fp32 at a time, at least: what a processor's cache holds; and parts of a pass, at most: what remains of
them in fp32 is little by then, and an accelerator is kept busy by each."""


def next_token_losses(logits: Tensor, blocks: Tensor, z: float = 0.0) -> tuple[Tensor, Tensor]:
    """From `logits` [batch, length, vocabulary] for `blocks` int64 [batch, length]: the mean cross entropy of the next token in
    each row, in nats, fp32 [batch], without a gradient; and what to minimise, scalar fp32: the mean of these and `z` times the
    mean squared logarithm of the softmax's denominator (Chowdhery et al., PaLM, 2022).

    Where a gradient is wanted it takes the place of the logits: the caller must not read them again. It can be had once.
    """
    found: tuple[Tensor, Tensor] = _NextToken.apply(logits, blocks, z)  # type: ignore[no-untyped-call]
    return found


def target_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """From `logits` [rows, vocabulary]: the cross entropy of `targets` int64 [rows], one by one, in nats, fp32 [rows].

    Where a gradient is wanted it takes the place of the logits, as in `next_token_losses`.
    """
    found: Tensor = _Target.apply(logits, targets)  # type: ignore[no-untyped-call]
    return found


class _Target(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        flat = logits.detach()
        once = torch.ones(len(flat), 1, device=flat.device)
        each, _ = _part(flat, targets.view(-1, 1), once, 0.0, ctx.needs_input_grad[0])
        ctx.save_for_backward(flat)  # which a checkpoint drops and finds again; an attribute it would keep
        return each.view(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scales: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * scales.view(-1, 1).to(gradient.dtype), None


class _NextToken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, blocks: Tensor, z: float) -> tuple[Tensor, Tensor]:
        # Detached, it shares the version counter: had another operation saved these logits, autograd would say so.
        flat, targets = logits.detach().flatten(0, 1), blocks.roll(-1, 1).view(-1, 1)
        counts = torch.ones_like(blocks, dtype=torch.float32)
        counts[:, -1] = 0  # nothing follows the last token of a row
        counts = counts.view(-1, 1) / (counts.numel() - len(counts))
        wanted = ctx.needs_input_grad[0]
        rows = max(_AT_ONCE // logits.shape[-1], -(-len(flat) // _PARTS))
        parts = zip(*(torch.split(whole, rows) for whole in (flat, targets, counts)), strict=True)
        found = [_part(part, target, count, z, wanted) for part, target, count in parts]
        each, denominators = (torch.cat(column).view(blocks.shape)[:, :-1] for column in zip(*found, strict=True))
        means = each.mean(-1)
        loss = means.mean() + z * denominators.square().mean() if z else means.mean()
        ctx.mark_non_differentiable(means)
        ctx.gradient = flat.view(logits.shape) if wanted else None
        return means, loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor, scale: Tensor) -> tuple[Tensor, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError("The gradient of these losses was taken already.")
        return gradient.mul_(scale), None, None


def _part(logits: Tensor, targets: Tensor, counts: Tensor, z: float, wanted: bool) -> tuple[Tensor, Tensor]:
    """Cross entropies and logarithms of denominators [rows, 1] of some rows, with gradients for their `counts` in place of the
    logits where they are `wanted`."""
    top = logits.amax(-1, keepdim=True).float()
    powers = logits.float() - top
    picked = powers.gather(-1, targets)
    total = powers.exp_().sum(-1, keepdim=True)
    denominators = total.log()
    each = denominators - picked
    denominators += top
    if wanted:
        powers *= counts * (1 + 2 * z * denominators) / total
        powers.scatter_add_(-1, targets, -counts)
        logits.copy_(powers)
    return each, denominators
