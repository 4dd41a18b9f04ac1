"""Memory of one rank under DeepSpeed 0.19's ZeRO (Rajbhandari et al., 2020), in bytes, by what it is for.

What the optimizer holds follows `deepspeed/runtime/zero`; what a pass holds was traced (`learning.planning.tracing`).
"""

from __future__ import annotations

from dataclasses import dataclass

from learning.planning.census import Census
from learning.planning.tracing import Held
from learning.pretraining import LIVE_PARAMETERS, REDUCE_BUCKET, Optimizer, Precision

FP32, BF16 = 4, 2
MOMENTS = 2  # Adam's, in fp32


@dataclass(frozen=True)
class Memory:
    """Of one rank at its fullest. `total` is their sum."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    buffers: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.buffers


def moments(census: Census, optimizer: Optimizer) -> int:
    """Numbers in fp32 that the optimizer keeps: two for each parameter, of Muon's matrices one."""
    return MOMENTS * census.total - (census.matrices if optimizer == "muon" else 0)


def memory(
    census: Census,
    passing: Held,
    *,
    ranks: int,
    zero_stage: int,
    precision: Precision,
    optimizer: Optimizer = "adamw",
) -> Memory:
    """What a rank of `ranks` holds at its fullest, at the end of a pass or in the optimizer's step.

    bf16 training keeps an fp32 copy of the weights beside the moments; fp32 training needs no copy. From stage 1 on each
    rank holds its part of these, from 2 on of the gradients too, from 3 on of the weights as well.
    """
    width = 2 if precision == "bf16" else FP32
    part = -(-census.total // ranks)
    owned = census.total if zero_stage == 0 else part
    share = 1 / ranks if zero_stage >= 2 else 1.0
    bucket = width * min(REDUCE_BUCKET, census.total)
    always = width * _gathered(census) + bucket if zero_stage == 3 else 0

    def exchanged(finished: int) -> int:
        return _exchanged(zero_stage, bucket, finished)

    activations, finished = passing.fullest(share, exchanged)
    gradients = int(share * finished)
    buffers = always + exchanged(finished)
    # The step makes fp32 of the gradients that this rank owns; by then the activations are gone.
    whole, step = int(share * width * census.total), FP32 * owned if precision == "bf16" else 0
    if optimizer == "muon" and zero_stage:
        step += _gathered_by_muon(census, ranks)
    if whole + always + step > activations + gradients + buffers:
        activations, gradients, buffers = 0, whole, always + step
    return Memory(
        weights=width * (part if zero_stage == 3 else census.total),
        gradients=gradients,
        optimizer=FP32 * (-(-moments(census, optimizer) * owned // census.total) + owned * (precision == "bf16")),
        activations=activations,
        buffers=buffers,
    )


def _gathered(census: Census) -> int:
    """Parameters that ZeRO 3 has whole at a time: what it may keep for reuse, or one layer in use and the next on its way."""
    return min(census.total, max(LIVE_PARAMETERS, 2 * census.largest_layer))


def _gathered_by_muon(census: Census, ranks: int) -> int:
    """Bytes while Muon moves a rank's part of the matrices: that part ahead in fp32, all of them and the update in bf16."""
    return BF16 * census.matrices + (FP32 + BF16 + BF16) * -(-census.matrices // ranks)


def _exchanged(zero_stage: int, bucket: int, finished: int) -> int:
    """Bytes of gradients on their way to other ranks: a bucket from the first gradient on. Stage 2 copies it when it is full, or
    when all are finished."""
    if not finished or zero_stage == 0:
        return 0
    return 2 * bucket if zero_stage == 2 and finished >= bucket else bucket
