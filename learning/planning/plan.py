"""The whole plan of a base run: counts, memory of every layout, the one to take, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from learning.planning.census import Census, census
from learning.planning.forecast import Assumptions, Forecast, forecast
from learning.planning.hardware import Accelerator
from learning.planning.layouts import Layout, choose, fits
from learning.planning.memory import FP32, MOMENTS, Memory, memory
from learning.planning.tracing import Held, forward_flops, held
from learning.pretraining import Precision

Report = Callable[[str], object]


@dataclass(frozen=True)
class Job:
    """What to train: `values`, a Hugging Face configuration, with `batch_size` sequences of `length` tokens per rank and step,
    their documents `separate` or not."""

    values: Mapping[str, Any]
    steps: int
    batch_size: int
    length: int
    precision: Precision
    layout: Layout
    separate: bool = False


@dataclass(frozen=True)
class Cluster:
    """`nodes` of `per_node` accelerators each, one rank an accelerator."""

    nodes: int
    per_node: int
    accelerator: Accelerator

    @property
    def ranks(self) -> int:
        return self.nodes * self.per_node


@dataclass(frozen=True)
class Option:
    """A layout and what it needs of a rank."""

    layout: Layout
    memory: Memory
    fits: bool


@dataclass(frozen=True)
class Plan:
    """`asked` is the layout of the spec; `options` the others with as many sequences at once; `chosen` the one to take, which is
    `asked` where it fits, and none where nothing does. `flops` are of one token forward and back."""

    census: Census
    flops: int
    step_tokens: int
    asked: Option
    options: tuple[Option, ...]
    chosen: Option | None
    checkpoint_bytes: int
    forecast: Forecast | None


def plan(job: Job, cluster: Cluster, assumed: Assumptions, report: Report = lambda _: None) -> Plan:
    """Plan `job` on `cluster`; `report` hears in a few words what is being worked out. Raises `Invalid`."""
    report("counting parameters")
    counted = census(job.values)
    needs = _needs(job, cluster, counted, report)

    def option(layout: Layout) -> Option:
        needed = needs(layout)
        return Option(layout, needed, fits(needed, cluster.accelerator.memory))

    asked = option(job.layout)
    options = tuple(
        option(Layout(stage, job.layout.micro_batch, recompute))
        for recompute in (False, True)
        for stage in (0, 1, 2, 3)
    )
    if asked.fits:
        chosen: Option | None = asked
    else:
        found = choose(job.batch_size, cluster.accelerator.memory, needs)
        chosen = option(found) if found else None
    report("counting operations")
    flops = 3 * forward_flops(job.values, job.length) // job.length
    step_tokens = job.batch_size * job.length * cluster.ranks
    width = 2 if job.precision == "bf16" else 0
    checkpoint = counted.total * (width + FP32 + MOMENTS * FP32)
    return Plan(
        census=counted,
        flops=flops,
        step_tokens=step_tokens,
        asked=asked,
        options=options,
        chosen=chosen,
        checkpoint_bytes=checkpoint,
        forecast=forecast(
            step_flops=float(flops) * step_tokens,
            step_tokens=step_tokens,
            steps=job.steps,
            accelerators=cluster.ranks,
            nodes=cluster.nodes,
            peak=cluster.accelerator.flops,
            watts=cluster.accelerator.watts,
            checkpoint_bytes=checkpoint,
            assumed=assumed,
        )
        if chosen
        else None,
    )


def _needs(job: Job, cluster: Cluster, counted: Census, report: Report) -> Callable[[Layout], Memory]:
    """Memory by layout. What a pass holds grows evenly with the sequences in it, so two traces tell all sizes."""

    @cache
    def traced(sequences: int, recompute: bool) -> Held:
        report(f"tracing a pass of {sequences} x {job.length} tokens{', recomputing' if recompute else ''}")
        return held(job.values, sequences, job.length, job.precision, recompute, separate=job.separate)

    def passing(sequences: int, recompute: bool) -> Held:
        one = traced(1, recompute)
        return one if sequences == 1 else one.of(sequences, traced(2, recompute))

    def needs(layout: Layout) -> Memory:
        return memory(
            counted,
            passing(layout.micro_batch, layout.recompute),
            ranks=cluster.ranks,
            zero_stage=layout.zero_stage,
            precision=job.precision,
        )

    return needs
