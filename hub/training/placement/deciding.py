"""Which gangs start now: pure, from the cluster, the queue and what runs.

EASY backfilling (Lifka, "The ANL/IBM SP Scheduling System", 1995; Mu'alem and Feitelson, IEEE TPDS 12(6), 2001): jobs start
in order of urgency until one does not fit. That one, the head, gets a reservation, nodes and the earliest moment at which all
of them are expected to be free. The others start now if they end before that moment, or leave the reserved nodes to the head.
If running jobs of a lower priority stand in its way, as few as will do are asked to stop at their next checkpoint.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hub.training.placement.cluster import Cluster, Counts
from hub.training.placement.shares import in_order
from hub.training.placement.values import Decision, Job, Needs, Places, Reservation, Running, Start, Yield


@dataclass(frozen=True, eq=False)
class _Plan:
    """For the head: its nodes, from when on, which jobs yield for it, and the slots that it leaves to others then."""

    at: float
    places: Places
    spare: Counts
    victims: tuple[Running, ...] = ()


def decide(
    cluster: Cluster, queue: Iterable[Job], running: Sequence[Running], shares: Mapping[str, float], now: float
) -> Decision:
    """`running` must hold all that keeps slots of the cluster and will give them back."""
    free, going = cluster.free.copy(), list(running)
    starts: list[Start] = []
    stuck: list[str] = []
    head: tuple[Job, _Plan] | None = None
    hopeless: set[tuple[Needs, bool]] = set()  # for these there was no room already, and room only shrinks
    for job in in_order(queue, shares, now):
        passing = head is None or now + job.expected < head[1].at
        if (kind := (job.needs, passing)) in hopeless:
            continue
        room = free if head is None or passing else np.minimum(free, head[1].spare)
        places = cluster.fit(room, job.needs)
        if places is not None:
            takes = cluster.takes(places, job.needs)
            free[places] -= takes
            if head is None:
                going.append(Running(job, places, now, now + job.expected))
            elif not passing:
                head[1].spare[places] -= takes
            starts.append(Start(job.name, cluster.named(places)))
        elif head is None and not cluster.holds(cluster.slots, job.needs):
            stuck.append(job.name)
        elif head is None:
            head = (job, _plan(cluster, free, going, job, now))
        else:
            hopeless.add(kind)
    if head is None:
        return Decision(tuple(starts), stuck=tuple(stuck))
    job, plan = head
    return Decision(
        tuple(starts),
        tuple(Yield(victim.job.name, job.name) for victim in plan.victims),
        Reservation(job.name, plan.at, cluster.named(plan.places)),
        tuple(stuck),
    )


def first_come(
    cluster: Cluster, queue: Iterable[Job], running: Sequence[Running], shares: Mapping[str, float], now: float
) -> Decision:
    """What a plain queue does, to compare with: the oldest first, and nothing passes what does not fit."""
    starts: list[Start] = []
    for job in sorted(queue, key=lambda job: (job.submitted, job.name)):
        places = cluster.fit(cluster.free, job.needs)
        if places is None:
            break
        cluster = cluster.taking(places, job.needs)
        starts.append(Start(job.name, cluster.named(places)))
    return Decision(tuple(starts))


def _plan(cluster: Cluster, free: Counts, going: Sequence[Running], job: Job, now: float) -> _Plan:
    """The soonest that the head can have its nodes: by waiting, or where that is sooner by having others yield."""
    waiting = _by_waiting(cluster, free, going, job, now)
    lower = [run for run in going if run.job.priority < job.priority and not run.yielding and run.saves < waiting.at]
    if not lower:
        return waiting
    yielding = _by_yielding(cluster, free, [run for run in going if run.yielding], lower, job, now)
    return yielding if yielding is not None and yielding.at < waiting.at else waiting


def _by_waiting(cluster: Cluster, free: Counts, going: Sequence[Running], job: Job, now: float) -> _Plan:
    leaving = sorted(going, key=lambda run: _leaves(run, now))
    freed = _Freed(cluster, free, leaving)
    count = freed.enough(job)
    if count > len(leaving):  # slots are held by something that is not among what runs: nobody knows for how long
        return _reserving(cluster, math.inf, cluster.slots, job)
    at = _leaves(leaving[count - 1], now) if count else now
    at_once = [run for run in leaving if _leaves(run, now) <= at]  # whatever leaves at that very moment is gone as well
    return _reserving(cluster, at, freed.after(len(at_once)), job)


def _by_yielding(
    cluster: Cluster, free: Counts, yielding: Sequence[Running], lower: Sequence[Running], job: Job, now: float
) -> _Plan | None:
    """Those of the lowest priority and, among them, those that began last yield first; none where that is not enough."""
    order = [*yielding, *sorted(lower, key=lambda run: (run.job.priority, -run.since))]
    freed = _Freed(cluster, free, order)
    count = freed.enough(job)
    if count > len(order):
        return None
    plan = _reserving(cluster, now, freed.after(count), job)
    in_the_way = [run for run in order[:count] if np.isin(run.at, plan.places).any()]
    at = max([now, *(min(run.ends, run.saves) for run in in_the_way)])
    return replace(plan, at=at, victims=tuple(run for run in in_the_way if not run.yielding))


def _reserving(cluster: Cluster, at: float, room: Counts, job: Job) -> _Plan:
    """Where so many slots will be free, and the job fits."""
    places = cluster.fit(room, job.needs)
    if places is None:
        raise ValueError(f"{job.name} does not fit where it should")
    spare = room.copy()
    spare[places] -= cluster.takes(places, job.needs)
    return _Plan(at, places, spare)


def _leaves(run: Running, now: float) -> float:
    """When a running job is expected to give its slots back; one that is late may do so at any moment."""
    return max(now, min(run.ends, run.saves) if run.yielding else run.ends)


class _Freed:
    """What is free once the first of some jobs have left."""

    def __init__(self, cluster: Cluster, free: Counts, leaving: Sequence[Running]) -> None:
        self._cluster, self._free = cluster, free
        self._at = np.concatenate([np.empty(0, np.intp), *(run.at for run in leaving)])
        self._takes = np.concatenate([np.empty(0, np.int64), *(cluster.takes(r.at, r.job.needs) for r in leaving)])
        self._until = [0, *np.cumsum([len(run.at) for run in leaving]).tolist()]

    def after(self, count: int) -> Counts:
        until = self._until[count]
        given = np.bincount(self._at[:until], self._takes[:until], minlength=len(self._free))
        return np.minimum(self._free + given.astype(np.int64), self._cluster.slots)

    def enough(self, job: Job) -> int:
        """How many of them must have left for a job to fit; more than there are where that is not enough."""
        counts = range(len(self._until))
        return bisect_left(counts, True, key=lambda count: self._cluster.holds(self.after(count), job.needs))
