"""What one pass of training costs, found by making it without numbers: every operation runs, no element is computed.

The model's own code and our own loss run on fake tensors (`torch._subclasses.fake_tensor`), which have shapes and no memory.
So nothing here knows an architecture, and what is counted is what will be executed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import PreTrainedModel

from learning.architectures import configuration, shell
from learning.experts import by_segments
from learning.pretraining import Precision, block_loss


@dataclass(frozen=True)
class Held:
    """Bytes of one pass forward and back.

    `kept` are held for the way back when the loss is known. `course` follows the pass: for every stretch between two finished
    gradients the most that activations, temporaries and the gradient in the making take, and the gradients finished before.
    Weights are in neither.
    """

    kept: int
    course: tuple[tuple[int, int], ...]

    def fullest(self, share: float, buffers: Callable[[int], int]) -> tuple[int, int]:
        """The moment of the pass that takes most, as (activations, finished gradients), where a rank keeps `share` of each
        gradient, and `buffers` more bytes when so many are finished."""
        return max(self.course, key=lambda moment: moment[0] + share * moment[1] + buffers(moment[1]))

    def of(self, sequences: int, two: Held) -> Held:
        """With so many sequences at once, if this is the pass of one and `two` that of two: each grows evenly."""
        more = sequences - 1
        course = tuple(
            (one + more * (other - one), finished)
            for (one, finished), (other, _) in zip(self.course, two.course, strict=True)
        )
        return Held(self.kept + more * (two.kept - self.kept), course)


def held(
    values: Mapping[str, Any],
    sequences: int,
    length: int,
    precision: Precision,
    recompute: bool,
    *,
    separate: bool = False,
    segments: bool = False,
) -> Held:
    """The memory of one pass of `sequences` x `length` tokens through the model of the configuration `values`, with a mask that
    holds documents apart if they are `separate`, and experts in `segments` as on processors (`learning.experts`).

    Raises `Invalid`. State space layers are traced as `transformers` computes them without fused kernels, which keep less.
    """
    with _shell(values, precision) as model:
        model.train()
        if segments:
            by_segments(model)
        if recompute:
            model.activation_checkpointing_enable()
        blocks = torch.zeros(sequences, length, dtype=torch.long)
        meter = _Meter([*model.parameters(), *model.buffers(), blocks])
        course: list[tuple[int, int]] = []
        finished = 0

        def next_stretch(parameter: Tensor) -> None:
            nonlocal finished
            course.append((meter.peak, finished))
            finished += parameter.nbytes
            parameter.grad = None
            meter.peak = meter.live

        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(next_stretch)
        with meter:
            loss = block_loss(model, blocks, separate=separate)
            kept = meter.live
            loss.backward()  # type: ignore[no-untyped-call]
    return Held(kept, (*course, (meter.peak, finished)))


def forward_flops(values: Mapping[str, Any], length: int) -> int:
    """Multiplications and additions of matrix products and attention for one sequence of `length` tokens, one way.

    Attention is counted without regard to the causal mask, as is usual (Chowdhery et al., PaLM, 2022, appendix B). The whole of
    training is three times as much; what is computed again to save memory is no progress and is not counted. Raises `Invalid`.
    """
    with _shell(values, "bf16") as model, torch.no_grad():
        blocks = torch.zeros(1, length, dtype=torch.long)
        with FlopCounterMode(display=False, custom_mapping=_UNCOUNTED) as counter:
            block_loss(model, blocks)
    return int(counter.get_total_flops())


@contextmanager
def _shell(values: Mapping[str, Any], precision: Precision) -> Iterator[PreTrainedModel]:
    """The model without memory, while the context lasts."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if precision == "bf16" else torch.float32)
    try:
        with FakeTensorMode():
            yield shell(configuration(values))
    finally:
        torch.set_default_dtype(before)


def _grouped_flops(left: Any, right: Any, *_: Any, **__: Any) -> int:
    """Of rows [m, k] by one matrix [e, k, n] each, or [k, m] by [m, n] within each group: 2 m k n."""
    return int(2 * left[0] * left[1] * right[-1])


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


_UNCOUNTED = {
    torch.ops.aten._grouped_mm: _grouped_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}
"""Operations that torch's own counter (2.13) passes over."""


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the storages that operations made and somebody still holds. `known` are not counted."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet(
            tensor.untyped_storage() for tensor in known
        )

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in _pytree.tree_leaves(result):
            if isinstance(value, Tensor):
                self._note(value.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.live -= size
