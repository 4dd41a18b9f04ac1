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
from hub.training.states import Work
from protos.coalition.v1 import training_pb2
from protos.documents.placing import Terms
from protos.documents.runs import RunSpec

RETURN = 60.0  # seconds to wait for nodes that hold a checkpoint's shards and are away, before starting over elsewhere


@dataclass(frozen=True)
class Order:
    """What a run asks for. `since` is when it was launched, seconds of the epoch; `terms` are its data's."""

    spec: RunSpec
    project: str
    since: float
    terms: tuple[Terms, ...] = ()


class Allocation:
    """Times are seconds of the epoch."""

    def __init__(self) -> None:
        self._usage, self._held = Usage(), dict[str, int]()  # slots by project, from the last account on
        self._paces: dict[str, gangs.Pace] = {}
        self._missed: dict[str, float] = {}  # run -> since when a node that holds its shards is away
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
        self._missed.pop(run, None)
        self._had_its_turn.pop(run, None)

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
            admitted, left_out[run] = gangs.admitted(present, orders[run].terms)
            among = admitted
            if self._is_bound(works[run], well, now):
                among &= {name for agent in works[run].registered_on for name in machines.get(agent, ())}
            queue.append(self._job(works[run], orders[run], None if len(among) == len(present) else among))
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
        """Whether a run waits for the nodes that hold its shards: while they are busy, and for a while when they are away."""
        if not work.registered:
            return False
        if well.issuperset(work.registered_on):
            self._missed.pop(work.run, None)
            return True
        return now - self._missed.setdefault(work.run, now) < RETURN

    def _job(self, work: Work, order: Order, among: frozenset[str] | None) -> Job:
        placement = order.spec.placement
        expected = placement.hours * 3600 if placement.hours else math.inf
        since = self._had_its_turn.get(work.run, order.since)
        holders = work.registered_on if len(work.registered_on) == placement.nodes else ()
        needs = gangs.needs(placement, among, holders)
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
