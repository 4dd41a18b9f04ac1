"""Which way of laying a model over ranks fits their memory. Pure: traces and counts come in, a choice goes out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from learning.planning.memory import Memory
from learning.pretraining import Optimizer

MARGIN = 0.92
"""The share of an accelerator's memory that is planned with: the rest goes to the allocator's gaps, kernels and NCCL."""

MOST_NODES = 4096


@dataclass(frozen=True)
class Layout:
    """`micro_batch` sequences per rank in one pass."""

    zero_stage: int
    micro_batch: int
    recompute: bool


def fits(memory: Memory, available: int) -> bool:
    return memory.total <= MARGIN * available


def stages(optimizer: Optimizer) -> tuple[int, ...]:
    """The stages of ZeRO that an optimizer works under: Muon needs its matrices in one piece."""
    return (0, 1, 2) if optimizer == "muon" else (0, 1, 2, 3)


def alternatives(batch_size: int, optimizer: Optimizer = "adamw") -> Iterator[Layout]:
    """Every layout in the order in which we would rather have it: fewer exchanges between ranks, nothing computed twice, and
    as much at once as there is. ZeRO 3 moves half as much again as 1 and 2 do; recomputing adds a third to the work."""
    sizes = [size for size in range(batch_size, 0, -1) if batch_size % size == 0]
    for recompute in (False, True):
        for stage in stages(optimizer)[1:]:
            for size in sizes:
                yield Layout(stage, size, recompute)


def choose(
    batch_size: int, available: int, needs: Callable[[Layout], Memory], optimizer: Optimizer = "adamw"
) -> Layout | None:
    """The first layout that fits `available` bytes a rank; none where none does."""
    return next((layout for layout in alternatives(batch_size, optimizer) if fits(needs(layout), available)), None)


def enough(fitting: Callable[[int], bool], too_few: int) -> int:
    """The fewest nodes that are `fitting`, more than `too_few`; 0 where `MOST_NODES` are not. The more, the less a rank holds."""
    counts = range(too_few + 1, MOST_NODES + 1)
    found = bisect_left(counts, True, key=fitting)
    return counts[found] if found < len(counts) else 0
