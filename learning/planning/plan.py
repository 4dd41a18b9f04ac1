"""The whole plan of a base run: counts, memory of every layout, the one to take, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from learning.planning.census import Census, census
from learning.planning.forecast import Assumptions, Forecast, forecast
from learning.planning.hardware import Accelerator
from learning.planning.layouts import Layout, choose, fits, stages
from learning.planning.memory import BF16, FP32, Memory, memory, moments
from learning.planning.tracing import Held, forward_flops, held
from learning.pretraining import Optimizer, Precision

Report = Callable[[str], object]


@dataclass(frozen=True)
class Stage:
    """`steps` steps of `batch_size` sequences of `length` tokens per rank."""

    name: str
    steps: int
    batch_size: int
    length: int


@dataclass(frozen=True)
class Job:
    """What to train: `values`, a Hugging Face configuration, in `stages` of which `widest` has the most tokens in a pass; its
    documents `separate` or not."""

    values: Mapping[str, Any]
    stages: tuple[Stage, ...]
    widest: Stage
    precision: Precision
    layout: Layout
    separate: bool = False
    optimizer: Optimizer = "adamw"


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
class Work:
    """Of one stage: `flops` of one token forward and back, `step_tokens` of all ranks."""

    stage: Stage
    flops: int
    step_tokens: int

    @property
    def total(self) -> int:
        """Operations of the whole stage."""
        return self.flops * self.step_tokens * self.stage.steps


@dataclass(frozen=True)
class Plan:
    """`asked` is the layout of the spec; `options` the others with as many sequences at once; `chosen` the one to take, which is
    `asked` where it fits, and none where nothing does. `works` are the stages in their order; memory is that of the widest."""

    census: Census
    works: tuple[Work, ...]
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
        for stage in stages(job.optimizer)
    )
    if asked.fits:
        chosen: Option | None = asked
    else:
        found = choose(job.widest.batch_size, cluster.accelerator.memory, needs, job.optimizer)
        chosen = option(found) if found else None
    report("counting operations")
    works = _works(job, cluster)
    steps = sum(work.stage.steps for work in works)
    width = BF16 if job.precision == "bf16" else 0
    checkpoint = counted.total * (width + FP32) + FP32 * moments(counted, job.optimizer)
    return Plan(
        census=counted,
        works=works,
        asked=asked,
        options=options,
        chosen=chosen,
        checkpoint_bytes=checkpoint,
        forecast=forecast(
            step_flops=sum(work.total for work in works) / steps,
            step_tokens=sum(work.step_tokens * work.stage.steps for work in works) / steps,
            steps=steps,
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


def _works(job: Job, cluster: Cluster) -> tuple[Work, ...]:
    """The model's operations are counted once for every length."""
    flops = {length: 3 * forward_flops(job.values, length) // length for length in {s.length for s in job.stages}}
    return tuple(
        Work(stage, flops[stage.length], stage.batch_size * stage.length * cluster.ranks) for stage in job.stages
    )


def _needs(job: Job, cluster: Cluster, counted: Census, report: Report) -> Callable[[Layout], Memory]:
    """Memory by layout. What a pass holds grows evenly with the sequences in it, so two traces tell all sizes."""

    @cache
    def traced(sequences: int, recompute: bool) -> Held:
        length = job.widest.length
        report(f"tracing a pass of {sequences} x {length} tokens{', recomputing' if recompute else ''}")
        return held(
            job.values,
            sequences,
            length,
            job.precision,
            recompute,
            separate=job.separate,
            segments=cluster.accelerator.is_processor,
        )

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
            optimizer=job.optimizer,
        )

    return needs
