"""Gangs on 10,000 nodes: what the scheduler makes of a trace, against a plain queue and against what no scheduler can pass.

    python -m benchmarks.scheduling [--nodes 10000] [--days 2] [--load 1.1] [--seed 1]

The trace is made up from published figures, because no recorded one comes in a package: Hu et al., "Characterization of Large
Language Model Development in the Datacenter" (NSDI 2024), cluster Kalos: evaluation is 92.9 % of the jobs and under 1 % of the
GPU time, pre-training 3.2 % and 94 %; the median job runs two minutes. Lengths are log-normal with the median and mean stated
in `CLASSES`; how long a job will run is overestimated by up to three times (Mu'alem and Feitelson, 2001, on users' estimates).
Pre-training has priority over the rest. Whoever keeps a queue in order without passing is `first come`; the bound lets every job
be cut into pieces of any size that run whenever they like after its arrival, but none faster than its ranks.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks._measure import percentile
from hub.training.placement.deciding import decide, first_come
from hub.training.placement.simulation import Arrival, Course, Outcome, Simulation
from hub.training.placement.values import Job, Needs, Node

GPUS, RACK, FABRIC = 8, 32, 1024
DAY = 86_400.0
INTERVAL = 30.0  # seconds between decisions, as Slurm's backfill has it
CHECKPOINT = 1800.0


@dataclass(frozen=True)
class Class:
    """A part of the jobs: gangs of so many GPUs, seconds in the median and mean."""

    name: str
    part: float
    gpus: tuple[int, ...]
    median: float
    mean: float
    priority: int = 0


CLASSES = (
    Class("evaluation", 0.929, (1, 1, 1, 2, 4), 120, 600),
    Class("fine-tuning", 0.039, (8, 16, 32, 64, 128), 3_600, 14_400),
    Class("pre-training", 0.032, (256, 256, 512, 1024, 2048, 4096), 3_600, 14_400, 1),
)
PROJECTS = "abcde"


def cluster(count: int) -> list[Node]:
    return [
        Node(
            f"node-{n:05}",
            ("H200",) * GPUS,
            labels={"rack": f"rack-{n // RACK}", "ib": f"fabric-{n // FABRIC}"},
        )
        for n in range(count)
    ]


def trace(slots: int, days: float, load: float, seed: int) -> list[tuple[Class, Arrival]]:
    """As much work as `load` of the cluster for so long, arriving evenly."""
    dice, jobs, work = random.Random(seed), [], 0.0
    while work < load * slots * days * DAY:
        kind = dice.choices(CLASSES, [each.part for each in CLASSES])[0]
        gpus = dice.choice(kind.gpus)
        spread = math.sqrt(2 * math.log(kind.mean / kind.median))
        seconds = min(max(10.0, dice.lognormvariate(math.log(kind.median), spread)), days * DAY)
        needs = Needs(max(1, gpus // GPUS), min(gpus, GPUS))
        expected = seconds * dice.uniform(1, 3)
        submitted = dice.uniform(0, days * DAY)
        name = f"{kind.name}-{len(jobs):06}"
        job = Job(name, needs, dice.choice(PROJECTS), kind.priority, submitted, expected)
        jobs.append((kind, Arrival(job, seconds)))
        work += seconds * needs.ranks
    return jobs


def bound(jobs: Sequence[tuple[Class, Arrival]], slots: int, until: float) -> float:
    """The part of the slots that could be busy until then if jobs could be cut into any pieces."""
    done, waiting, before = 0.0, 0.0, 0.0
    for _, arrival in sorted(jobs, key=lambda each: each[1].job.submitted):
        worked = min(waiting, (arrival.job.submitted - before) * slots)
        done, waiting, before = done + worked, waiting - worked, arrival.job.submitted
        waiting += min(arrival.seconds, until - before) * arrival.job.needs.ranks
    done += min(waiting, (until - before) * slots)
    return done / (slots * until)


def shares_of(jobs: Sequence[tuple[Class, Arrival]]) -> str:
    """What part of the jobs and of the work each class is."""
    work = {each: sum(a.seconds * a.job.needs.ranks for kind, a in jobs if kind is each) for each in CLASSES}
    counts = {each: sum(kind is each for kind, _ in jobs) for each in CLASSES}
    whole = sum(work.values())
    return ", ".join(
        f"{c.name} {counts[c] / len(jobs):.1%} of the jobs and {work[c] / whole:.1%} of the work" for c in CLASSES
    )


def waits(courses: Sequence[Course], until: float) -> tuple[float, float]:
    """Mean and 95th percentile in seconds; what has not begun has waited until now."""
    waited = [min(c.waited, until - c.arrival.job.submitted) for c in courses]
    return statistics.fmean(waited), percentile(waited, 0.95)


def show(outcomes: dict[str, Outcome], jobs: Sequence[tuple[Class, Arrival]], slots: int, until: float) -> None:
    best = bound(jobs, slots, until)
    table = Table("", "slots busy", "of the bound", *(f"{c.name}: mean / p95 wait, s" for c in CLASSES), "yielded")
    for name, outcome in outcomes.items():
        busy = outcome.busy / (slots * until)
        told = [waits([outcome.courses[a.job.name] for kind, a in jobs if kind is each], until) for each in CLASSES]
        yielded = sum(course.yielded for course in outcome.courses.values())
        table.add_row(
            name, f"{busy:.1%}", f"{busy / best:.3f}", *(f"{m:,.0f} / {p:,.0f}" for m, p in told), f"{yielded}"
        )
    table.add_row("bound", f"{best:.1%}", "1.000", *("0 / 0" for _ in CLASSES), "")
    console = Console(width=160)
    console.print(table)
    for name, outcome in outcomes.items():
        took = [seconds * 1000 for seconds in outcome.decisions]
        half, most, worst = percentile(took, 0.5), percentile(took, 0.99), max(took)
        console.print(
            f"{name}: {len(took):,} decisions, ms: median {half:.1f}, p99 {most:.1f}, longest {worst:.1f}",
            highlight=False,
        )
    console.print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--days", type=float, default=2.0)
    parser.add_argument(
        "--load", type=float, default=1.1, help="work that arrives, as a part of what the cluster can do"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    slots, until = options.nodes * GPUS, options.days * DAY
    jobs = trace(slots, options.days, options.load, options.seed)
    sizes = [arrival.job.needs.ranks for _, arrival in jobs]
    print(
        f"{options.nodes:,} nodes of {GPUS}, {len(jobs):,} jobs of up to {max(sizes):,} ranks in {options.days:g} days:"
    )
    print(shares_of(jobs))
    outcomes = {}
    for name, policy in (("first come", first_come), ("EASY, priorities, shares", decide)):
        simulation = Simulation(
            cluster(options.nodes),
            [arrival for _, arrival in jobs],
            policy,
            interval=INTERVAL,
            checkpoint_every=CHECKPOINT,
        )
        outcomes[name] = simulation.run(until)
    show(outcomes, jobs, slots, until)


if __name__ == "__main__":
    main()
