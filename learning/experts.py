"""Experts on processors: tokens in the order of their experts, one product for each, and every gradient where it belongs.

`transformers` multiplies experts as a group (`grouped_mm`). On a processor that is a loop over the same products, and more is
lost than they take. For bf16, oneDNN makes a kernel for every number of rows that it has not met lately, which takes longer
than a small product, and a router hands each expert another number in every step: here these are rounded up, so that few
occur. The gradients of weights come out transposed, to be copied once more, and those of the ways into the order of the
experts and back scatter: here the former have their weights' layout, and the ways are each other's gradient. Accelerators
have kernels for the group, and keep them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, grouped_mm_experts_forward

SEGMENTS = "segments"
_OTHERWISE = ("has_bias", "is_transposed", "has_post_expert_norm", "_is_expert_parallel")
_SIZES = 16
"""To which an expert's mean number of rows is rounded, at least; few enough for oneDNN to keep a kernel for each."""


def by_segments(model: PreTrainedModel) -> None:
    """Has the experts of a model multiplied so; nothing changes in one that has none."""
    if getattr(model.config, "_experts_implementation", None) == "grouped_mm":
        model.set_experts_implementation(SEGMENTS)


def segments_forward(experts: Any, states: Tensor, picks: Tensor, weights: Tensor) -> Tensor:
    """[tokens, width] from `states` of that shape, `picks` int64 [tokens, picked] of experts, and `weights` of that shape.

    `experts` is a module as `transformers` 5.23 has them (`integrations/moe.py`). Of a kind that this does not know, on another
    device, or where no gradient is wanted, it is multiplied as a group.
    """
    others = any(getattr(experts, kind) for kind in _OTHERWISE)
    if others or states.device.type != "cpu" or not torch.is_grad_enabled():
        grouped: Tensor = grouped_mm_experts_forward(experts, states, picks, weights)
        return grouped
    way = _way(picks, experts.num_experts, rounded=experts.down_proj.dtype == torch.bfloat16)
    inner = _product(_moved(states, way, there=True), experts, "gate_up_proj" if experts.has_gate else "up_proj", way)
    inner = experts._apply_gate(inner) if experts.has_gate else experts.act_fn(inner)
    shares = weights.flatten().index_select(0, way.picks) * way.filled
    outer = _product(inner, experts, "down_proj", way) * shares.unsqueeze(-1)
    return _moved(outer, way, there=False).to(states.dtype)


@dataclass(frozen=True)
class _Way:
    """Into the order of the experts, and back. Each expert has the places up to its end, of which the last may be empty: these
    repeat the first pick, with a share of nothing, so that no gradient comes from them."""

    picks: Tensor  # of each place: int64 [places]
    places: Tensor  # of each pick: int64 [tokens x picked]
    filled: Tensor  # [places]: 1, or 0 for the empty ones
    ends: list[int]
    picked: int

    @classmethod
    def of(cls, picks: Tensor, experts: int, *, rounded: bool) -> _Way:
        flat = picks.flatten()
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=experts)
        step = _step(len(flat) // experts) if rounded else 1
        sizes = (counts + step - 1) // step * step
        ends = sizes.cumsum(0)
        moved = (ends - sizes) - (counts.cumsum(0) - counts)  # by the empty places before an expert's
        at = torch.arange(len(flat)) + moved.repeat_interleave(counts)
        total = int(ends[-1])
        return cls(
            picks=torch.zeros(total, dtype=torch.int64).index_copy_(0, at, order),
            places=torch.empty_like(order).index_copy_(0, order, at),
            filled=torch.zeros(total, dtype=torch.int8).index_fill_(0, at, 1),
            ends=ends.tolist(),
            picked=picks.shape[1],
        )

    @classmethod
    def usual(cls, picks: Tensor, experts: int, *, rounded: bool) -> _Way:
        """Of `picks` whose numbers nobody knows: every expert has as many places as the mean one, half a step of them empty."""
        count = picks.numel()
        empty = (_step(count // experts) - 1) / 2 if rounded else 0.0
        ends = [round((count / experts + empty) * (expert + 1)) for expert in range(experts)]
        return cls(
            picks=picks.new_zeros(ends[-1]),
            places=picks.new_zeros(count),
            filled=picks.new_zeros(ends[-1], dtype=torch.int8),
            ends=ends,
            picked=picks.shape[1],
        )

    def there(self, states: Tensor) -> Tensor:
        """The token of each place: [places, width] from `states` [tokens, width]."""
        return states.index_select(0, self.picks // self.picked)

    def back(self, rows: Tensor) -> Tensor:
        """Over the picks of each token: [tokens, width] from `rows` [places, width]."""
        return rows.index_select(0, self.places).view(-1, self.picked, rows.shape[-1]).sum(1)


def _way(picks: Tensor, experts: int, *, rounded: bool) -> _Way:
    """Of picks without numbers, as a plan has them, the usual one."""
    make = _Way.usual if isinstance(picks, FakeTensor) else _Way.of
    return make(picks, experts, rounded=rounded)


def _step(mean: int) -> int:
    """What numbers of rows, which are `mean` on the average, are rounded up to multiples of: a power of two, 8 at least."""
    return 1 << max(3, (mean // _SIZES).bit_length() - 1)


def _moved(rows: Tensor, way: _Way, *, there: bool) -> Tensor:
    found: Tensor = _Moved.apply(rows, way, there)  # type: ignore[no-untyped-call]
    return found


def _product(rows: Tensor, experts: nn.Module, name: str, way: _Way) -> Tensor:
    weight = getattr(experts, name)
    found: Tensor = _Product.apply(rows.to(weight.dtype), weight, way.ends)  # type: ignore[no-untyped-call]
    return found


class _Moved(torch.autograd.Function):
    """Rows into the order of the experts (`there`), or back; each is the other's gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, way: _Way, there: bool) -> Tensor:
        ctx.way, ctx.there = way, there
        return way.there(rows) if there else way.back(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.way.back(gradient) if ctx.there else ctx.way.there(gradient), None, None


class _Product(torch.autograd.Function):
    """Rows [rows, inner], of which each expert has those up to its end, times its own of `weights` [experts, outer, inner]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor, ends: list[int]) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.ends = ends
        found = rows.new_empty(len(rows), weights.shape[1])
        for expert, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
            torch.mm(rows[begin:end], weights[expert].T, out=found[begin:end])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, weights = ctx.saved_tensors
        to_rows, to_weights = torch.empty_like(rows), torch.empty_like(weights)
        for expert, (begin, end) in enumerate(zip([0, *ctx.ends], ctx.ends, strict=False)):
            torch.mm(gradient[begin:end], weights[expert], out=to_rows[begin:end])
            torch.mm(gradient[begin:end].T, rows[begin:end], out=to_weights[expert])  # zero for an expert without rows
        return to_rows, to_weights, None


ALL_EXPERTS_FUNCTIONS.register(SEGMENTS, segments_forward)
