"""The whole plan of a base run: counts, memory of every layout, the one to take, and what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from learning.planning.census import Census, census
from learning.planning.forecast import Assumptions, Forecast, forecast
from learning.planning.hardware import Accelerator
from learning.planning.layouts import Layout, choose, enough, fits, stages
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
class Enough:
    """The fewest nodes of the cluster's kind on which a layout fits."""

    nodes: int
    option: Option


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
    `asked` where it fits, and none where nothing does: then `enough` says how many nodes would do, if any number does. `works`
    are the stages in their order; memory is that of the widest."""

    census: Census
    works: tuple[Work, ...]
    asked: Option
    options: tuple[Option, ...]
    chosen: Option | None
    enough: Enough | None
    checkpoint_bytes: int
    forecast: Forecast | None


def plan(job: Job, cluster: Cluster, assumed: Assumptions, report: Report = lambda _: None) -> Plan:
    """Plan `job` on `cluster`; `report` hears in a few words what is being worked out. Raises `Invalid`."""
    report("counting parameters")
    counted = census(job.values)
    passing = _passing(job, cluster.accelerator.is_processor, report)

    def needs(layout: Layout, nodes: int) -> Memory:
        return memory(
            counted,
            passing(layout),
            ranks=nodes * cluster.per_node,
            zero_stage=layout.zero_stage,
            precision=job.precision,
            optimizer=job.optimizer,
        )

    def option(layout: Layout, nodes: int = cluster.nodes) -> Option:
        needed = needs(layout, nodes)
        return Option(layout, needed, fits(needed, cluster.accelerator.memory))

    def best(nodes: int) -> Option | None:
        available = cluster.accelerator.memory
        found = choose(job.widest.batch_size, available, lambda layout: needs(layout, nodes), job.optimizer)
        return option(found, nodes) if found else None

    asked = option(job.layout)
    options = tuple(
        option(Layout(stage, job.layout.micro_batch, recompute))
        for recompute in (False, True)
        for stage in stages(job.optimizer)
    )
    chosen = asked if asked.fits else best(cluster.nodes)
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
        enough=None if chosen else _enough(best, cluster.nodes),
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


def _passing(job: Job, on_processors: bool, report: Report) -> Callable[[Layout], Held]:
    """A pass by layout. What it holds grows evenly with the sequences in it, so two traces tell all sizes."""

    @cache
    def traced(sequences: int, recompute: bool) -> Held:
        length = job.widest.length
        report(f"tracing a pass of {sequences} x {length} tokens{', recomputing' if recompute else ''}")
        separate = job.separate
        return held(job.values, sequences, length, job.precision, recompute, separate=separate, segments=on_processors)

    def passing(layout: Layout) -> Held:
        one = traced(1, layout.recompute)
        return one if layout.micro_batch == 1 else one.of(layout.micro_batch, traced(2, layout.recompute))

    return passing


def _enough(best: Callable[[int], Option | None], too_few: int) -> Enough | None:
    nodes = enough(lambda count: best(count) is not None, too_few)
    option = best(nodes) if nodes else None
    return Enough(nodes, option) if option else None
