"""Experts on processors: each one's tokens at a time, from the way in to the way out, while they are in the processor's cache.

`transformers` multiplies experts as a group (`grouped_mm`), step by step for all tokens. On a processor that is a loop over the
same products, with arrays of all tokens between them, gradients of weights that come out transposed and are copied, and ways
into the order of the experts and back whose gradients scatter. Here one expert's steps follow each other, forward and back; what
the gate makes is found again on the way back (as Gale et al., MegaBlocks, 2023, do), gradients have their weights' layout, and
both ways gather. Accelerators have kernels for the group, and keep them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, _default_apply_gate, grouped_mm_experts_forward

SEGMENTS = "segments"
_OTHERWISE = ("has_bias", "is_transposed", "has_post_expert_norm", "_is_expert_parallel")


def by_segments(model: PreTrainedModel) -> None:
    """Has the experts of a model multiplied so; nothing changes in one that has none."""
    if getattr(model.config, "_experts_implementation", None) == "grouped_mm":
        model.set_experts_implementation(SEGMENTS)


def segments_forward(experts: Any, states: Tensor, picks: Tensor, weights: Tensor) -> Tensor:
    """[tokens, width] from `states` of that shape, `picks` int64 [tokens, picked] of experts, and `weights` of that shape.

    `experts` is a module as `transformers` 5.23 has them (`integrations/moe.py`); one of a kind that this does not know, or on
    another device, is multiplied as a group. Numbers are the same to the rounding of the states' dtype.
    """
    if not _known(experts, states):
        grouped: Tensor = grouped_mm_experts_forward(experts, states, picks, weights)
        return grouped
    order = picks.flatten().argsort(stable=True)
    counts = torch.bincount(picks.flatten(), minlength=experts.num_experts)
    found: Tensor = _Segments.apply(states, weights, experts.gate_up_proj, experts.down_proj, order, counts)  # type: ignore[no-untyped-call]
    return found


def _known(experts: Any, states: Tensor) -> bool:
    """Gated by SiLU, halves side by side, in the states' dtype, on a processor."""
    if states.device.type != "cpu" or not experts.has_gate or any(getattr(experts, kind) for kind in _OTHERWISE):
        return False
    usual = experts.is_concatenated and type(experts)._apply_gate is _default_apply_gate
    return usual and isinstance(experts.act_fn, nn.SiLU | SiLUActivation) and states.dtype == experts.gate_up_proj.dtype


class _Segments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weights: Tensor, inward: Tensor, outward: Tensor, order: Tensor, counts: Tensor
    ) -> Tensor:
        """`inward` [experts, 2 x inner, width], gates first, and `outward` [experts, width, inner] are the experts' weights;
        `order` lists the picks by expert, of which each has so many as `counts` says."""
        rows = states.new_empty(len(order), states.shape[1])
        inner = states.new_empty(len(order), inward.shape[1])
        of_tokens = order // weights.shape[1]
        scales = weights.flatten()[order].unsqueeze(-1)
        for expert, own in _segments(counts):
            torch.mm(states.index_select(0, of_tokens[own]), inward[expert].T, out=inner[own])
            gates, values = inner[own].chunk(2, -1)
            torch.mm(nn.functional.silu(gates).mul_(values), outward[expert].T, out=rows[own]).mul_(scales[own])
        ctx.save_for_backward(states, weights, inward, outward, order, counts, inner)
        return _summed(rows, order, weights.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None, None]:
        states, weights, inward, outward, order, counts, inner = ctx.saved_tensors
        rows, to_scales = states.new_empty(len(order), states.shape[1]), weights.new_empty(weights.numel())
        to_inward, to_outward = torch.empty_like(inward), torch.empty_like(outward)
        of_tokens = order // weights.shape[1]
        scales = weights.flatten()[order].unsqueeze(-1)
        for expert, own in _segments(counts):
            gates, values = inner[own].chunk(2, -1)
            active = nn.functional.silu(gates)
            made = active * values
            back = gradient.index_select(0, of_tokens[own])
            to_made = back @ outward[expert]
            to_scales[order[own]] = (to_made * made).sum(-1, dtype=weights.dtype)
            torch.mm(back.mul_(scales[own]).T, made, out=to_outward[expert])  # zero for an expert without rows
            to_made.mul_(scales[own])
            to_inner = torch.empty_like(inner[own])
            to_gates, to_values = to_inner.chunk(2, -1)
            torch.mul(to_made, active, out=to_values)
            torch.ops.aten.silu_backward.grad_input(to_made.mul_(values), gates, grad_input=to_gates)
            torch.mm(to_inner, inward[expert], out=rows[own])
            torch.mm(to_inner.T, states.index_select(0, of_tokens[own]), out=to_inward[expert])
        to_states = _summed(rows, order, weights.shape[1])
        return to_states, to_scales.view_as(weights), to_inward, to_outward, None, None


def _segments(counts: Tensor) -> Iterator[tuple[int, slice]]:
    """Each expert, and which of the ordered picks are its own."""
    end = 0
    for expert, count in enumerate(counts.tolist()):
        begin, end = end, end + count
        yield expert, slice(begin, end)


def _summed(rows: Tensor, order: Tensor, picked: int) -> Tensor:
    """Over the picks of each token: [tokens, width] from `rows` [tokens x picked, width] in `order`."""
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order))
    return rows.index_select(0, back).view(-1, picked, rows.shape[-1]).sum(1)


ALL_EXPERTS_FUNCTIONS.register(SEGMENTS, segments_forward)
