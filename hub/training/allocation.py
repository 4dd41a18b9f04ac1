"""Which waiting runs get which nodes: what the hub knows of runs and nodes, put to `placement`, and what only that needs.

In memory alone, and found again after a restart as the runs go on: how fast they go. What their projects have used follows from
the records (`use`) when the hub starts, and is kept up from then on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hub.training import gangs
from hub.training.nodes import Attached
from hub.training.placement.cluster import Cluster
from hub.training.placement.deciding import decide
from hub.training.placement.shares import Usage, shares
from hub.training.placement.values import Decision, Job, Needs, Running
from hub.training.states import Work, is_copied
from protos.coalition.v1 import training_pb2
from protos.documents.placing import Terms
from protos.documents.runs import RunSpec

RETURN = 60.0
"""Seconds to wait for nodes that hold a checkpoint's shards and are away, before going on without them."""


@dataclass(frozen=True)
class Order:
    """What a run asks for. `since` is when it was launched, seconds of the epoch; `terms` are its data's."""

    spec: RunSpec
    project: str
    since: float
    terms: tuple[Terms, ...] = ()


class Allocation:
    """Times are seconds of the epoch."""

    def __init__(self, wait: float = RETURN) -> None:
        self._wait = wait
        self._usage, self._held = Usage(), dict[str, int]()  # slots by project, from the last account on
        self._paces: dict[str, gangs.Pace] = {}
        self._missed: dict[str, float] = {}  # run -> since when a node that holds its shards is away
        self._short: dict[str, float] = {}  # run that is copied -> since when there are too few nodes for all of it
        self._had_its_turn: dict[str, float] = {}  # run -> when it yielded
        self._wishes: dict[str, str] = {}  # run that is to yield -> for which one

    def remember(self, usage: Usage) -> None:
        """What projects have used up to now."""
        self._usage = usage

    def progressed(self, run: str, message: training_pb2.TrainingProgress, now: float) -> None:
        """A run of which rank 0 tells a step."""
        step = max((metric.step for metric in message.metrics), default=0)
        if step > 0:
            self._paces[run] = gangs.progressed(self._paces.get(run), step, now)

    def ended(self, run: str) -> None:
        """An attempt, or the run."""
        self._paces.pop(run, None)
        self._wishes.pop(run, None)

    def forget(self, run: str) -> None:
        """The run has ended."""
        self.ended(run)
        for times in (self._missed, self._short, self._had_its_turn):
            times.pop(run, None)

    def used(self, project: str) -> float:
        """Slot-seconds, the older the less."""
        return self._usage.amounts.get(project, 0.0)

    def yields_for(self, run: str) -> str:
        """For which run this one is to stop at its next checkpoint; empty for none."""
        return self._wishes.get(run, "")

    def has_yielded(self, run: str, now: float) -> None:
        self.ended(run)
        self._had_its_turn[run] = now

    def account(self, works: Mapping[str, Work], orders: Mapping[str, Order], now: float) -> None:
        """Count what projects hold, from now on."""
        self._usage = self._usage.later(self._held, now)
        self._held = {}
        for run, work in works.items():
            project, ranks = orders[run].project, work.world if work.nodes else 0
            self._held[project] = self._held.get(project, 0) + ranks

    def decide(
        self,
        works: Mapping[str, Work],
        waiting: Iterable[str],
        orders: Mapping[str, Order],
        nodes: Sequence[Attached],
        now: float,
    ) -> tuple[Decision, dict[str, str]]:
        """What is to start and to yield now; and for each of the waiting runs why a node is not for its data, if one is not, or
        what all of the nodes together lack."""
        busy = {name for work in works.values() for name in work.nodes}
        offers = {n.name: gangs.nodes(n.name, n.hello.inventory, busy=n.name in busy) for n in nodes}
        machines = {agent: [each.name for each in offer] for agent, offer in offers.items()}
        present = [each for offer in offers.values() for each in offer]
        cluster = Cluster(present)
        well = frozenset(gangs.agents(each.name for each in present if each.healthy))
        queue, left_out = [], {}
        for run in waiting:
            work, order = works[run], orders[run]
            admitted, left_out[run] = gangs.admitted(present, order.terms)
            among = None if len(admitted) == len(present) else admitted
            count, indivisible = self._count(work, order.spec, cluster, among, now)
            left_out[run] = left_out[run] or indivisible
            if self._is_bound(work, well, now):
                holding = frozenset(name for agent in work.registered_on for name in machines.get(agent, ()))
                pooled = not holding.issubset(work.registered_on)
                ranks = work.ranks or order.spec.placement.ranks
                held = ranks // order.spec.placement.ranks_per_node if pooled else len(work.registered_on)
                more = cluster.holds(cluster.slots, gangs.needs(order.spec.placement, count, among))
                if not (held < count and more and is_copied(work)):
                    among, count = admitted & holding, held
            elif work.doubt:
                others = admitted.difference(machines.get(work.doubt.node, ()))
                if cluster.holds(cluster.free, gangs.needs(order.spec.placement, count, others)):
                    among = others  # a second opinion
            queue.append(self._job(work, order, count, among))
        self._wishes = {run: other for run, other in self._wishes.items() if other in left_out}
        running = [
            self._running(cluster, machines, work, orders[run], now) for run, work in works.items() if work.nodes
        ]
        fair = shares(self._usage, {job.project for job in queue})
        decision = decide(cluster, queue, running, fair, now)
        for job in queue:
            left_out[job.name] = left_out[job.name] or gangs.lacking(cluster, job.needs)
        self._wishes |= {wish.job: wish.so_that for wish in decision.yields}
        return decision, left_out

    def _is_bound(self, work: Work, well: frozenset[str], now: float) -> bool:
        """Whether a run waits for the nodes that hold its shards, if any do: while they are busy, and for a while when they are
        away. One that had to go on with fewer leaves them once it loses nothing by that."""
        if not work.registered_on:
            return False
        if well.issuperset(work.registered_on):
            self._missed.pop(work.run, None)
            return True
        return now - self._missed.setdefault(work.run, now) < self._wait

    def could_grow(self, work: Work, works: Mapping[str, Work], order: Order, nodes: Sequence[Attached]) -> bool:
        """Whether a run that goes on with fewer nodes would get all that it asks for, with nobody waiting, and lose no
        checkpoint."""
        if not is_copied(work) or any(other.phase == "queued" for other in works.values()):
            return False
        busy = {name for other in works.values() if other.run != work.run for name in other.nodes}
        present = [each for n in nodes for each in gangs.nodes(n.name, n.hello.inventory, busy=n.name in busy)]
        cluster, placement = Cluster(present), order.spec.placement
        return cluster.holds(
            cluster.free, gangs.needs(placement, placement.nodes, gangs.admitted(present, order.terms)[0])
        )

    def _count(
        self, work: Work, spec: RunSpec, cluster: Cluster, among: frozenset[str] | None, now: float
    ) -> tuple[int, str]:
        """How many nodes a run waits for: fewer than it asks for once it is copied and there have been too few for a while. And
        why it cannot go on with those that there are, if that is so."""
        whole = gangs.needs(spec.placement, spec.placement.nodes, among)
        if not work.copies or cluster.holds(cluster.slots, whole):
            self._short.pop(work.run, None)
        elif now - self._short.setdefault(work.run, now) >= self._wait:
            return gangs.fewer(spec, cluster.most(whole))
        return whole.nodes, ""

    def _job(self, work: Work, order: Order, count: int, among: frozenset[str] | None) -> Job:
        placement = order.spec.placement
        expected = placement.hours * 3600 if placement.hours else math.inf
        since = self._had_its_turn.get(work.run, order.since)
        holders = work.registered_on if len(work.registered_on) == count else ()
        needs = gangs.needs(placement, count, among, holders)
        return Job(work.run, needs, order.project, placement.priority, since, expected)

    def _running(
        self, cluster: Cluster, machines: Mapping[str, list[str]], work: Work, order: Order, now: float
    ) -> Running:
        training, needs = order.spec.training, Needs(len(work.nodes), order.spec.placement.ranks_per_node, whole=True)
        pace, ends, saves = self._paces.get(work.run), math.inf, math.inf
        if work.phase == "training":
            ends, saves = gangs.expectations(pace, training.checkpoint_every, training.steps, now)
        job = Job(work.run, needs, order.project, order.spec.placement.priority)
        began = pace.first[1] if pace else now
        return Running(
            job,
            cluster.numbers(name for agent in work.nodes for name in machines.get(agent, ())),
            began,
            ends,
            saves,
            work.run in self._wishes,
        )
