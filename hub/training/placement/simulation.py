"""What a policy would have made of a trace: a cluster whose jobs arrive, run, yield and end as written, event by event."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from hub.training.placement.cluster import Cluster
from hub.training.placement.shares import Usage, shares
from hub.training.placement.values import Decision, Job, Node, Reservation, Running

Policy: TypeAlias = Callable[[Cluster, Iterable[Job], Sequence[Running], Mapping[str, float], float], Decision]


@dataclass(frozen=True)
class Arrival:
    """A job that comes when it says and runs for `seconds`, whatever it expects."""

    job: Job
    seconds: float


@dataclass
class Course:
    """What became of a job; `reserved` are the moments that it was promised, `starts` those at which it began."""

    arrival: Arrival
    left: float
    starts: list[float] = field(default_factory=list)
    ended: float = math.inf
    yielded: int = 0
    reserved: list[Reservation] = field(default_factory=list)

    @property
    def waited(self) -> float:
        """Seconds until it first began."""
        return (self.starts[0] if self.starts else math.inf) - self.arrival.job.submitted


@dataclass
class Outcome:
    """`busy` counts slot-seconds; `decisions` the seconds that each decision took."""

    courses: dict[str, Course]
    busy: float = 0.0
    decisions: list[float] = field(default_factory=list)


class Simulation:
    """`interval` is the least time between two decisions, `checkpoint_every` that between a job's checkpoints; seconds."""

    def __init__(
        self,
        nodes: Iterable[Node],
        arrivals: Iterable[Arrival],
        policy: Policy,
        *,
        interval: float = 0.0,
        checkpoint_every: float = math.inf,
    ) -> None:
        self._policy, self._interval, self._every = policy, interval, checkpoint_every
        self._cluster, self._usage = Cluster(nodes), Usage()
        self._coming = sorted(arrivals, key=lambda arrival: arrival.job.submitted, reverse=True)
        self._queue: dict[str, Job] = {}
        self._running: dict[str, Running] = {}
        self._events: list[tuple[float, str, int]] = []  # when, which job's end or checkpoint, of which of its starts
        self._outcome = Outcome({a.job.name: Course(a, a.seconds) for a in self._coming})

    def run(self, until: float = math.inf) -> Outcome:
        """To the end of the trace, or of time."""
        now = 0.0
        while (upcoming := self._next()) <= until and upcoming < math.inf:
            now = max(now + self._interval, upcoming)
            self._pass(min(now, until))
            self._decide(now)
        self._pass(until)
        if until < math.inf:
            for run in self._running.values():
                self._count(run, until)
        return self._outcome

    def _next(self) -> float:
        """When something happens."""
        arrival = self._coming[-1].job.submitted if self._coming else math.inf
        return min(arrival, self._events[0][0] if self._events else math.inf)

    def _pass(self, now: float) -> None:
        """All that happens up to a moment."""
        while self._coming and self._coming[-1].job.submitted <= now:
            job = self._coming.pop().job
            self._queue[job.name] = job
        while self._events and self._events[0][0] <= now:
            at, name, start = heapq.heappop(self._events)
            if name in self._running and start == len(self._outcome.courses[name].starts):
                self._stop(self._running[name], at)

    def _stop(self, run: Running, now: float) -> None:
        """At its end, or at the checkpoint for which it was asked."""
        course, job = self._outcome.courses[run.job.name], run.job
        del self._running[job.name]
        self._cluster = self._cluster.giving(run.at, job.needs)
        self._count(run, now)
        passed = now - run.since
        if passed >= course.left - 1e-6:
            course.ended = now
            return
        course.left -= passed
        course.yielded += 1
        self._queue[job.name] = replace(job, submitted=now, expected=max(job.expected - passed, 1.0))

    def _decide(self, now: float) -> None:
        self._usage = self._usage.later(self._rates(), now)
        fair = shares(self._usage, {job.project for job in self._queue.values()})
        running = [self._as_known(run, now) for run in self._running.values()]
        began = time.perf_counter()
        decision = self._policy(self._cluster, self._queue.values(), running, fair, now)
        self._outcome.decisions.append(time.perf_counter() - began)
        for start in decision.starts:
            self._start(self._queue.pop(start.job), start.nodes, now)
        for wish in decision.yields:
            run = self._running[wish.job] = replace(self._as_known(self._running[wish.job], now), yielding=True)
            self._expect(run.saves, wish.job)
        if decision.reserved:
            self._outcome.courses[decision.reserved.job].reserved.append(decision.reserved)

    def _start(self, job: Job, nodes: tuple[str, ...], now: float) -> None:
        course = self._outcome.courses[job.name]
        run = Running(job, self._cluster.numbers(nodes), now, now + job.expected)
        self._running[job.name] = run
        self._cluster = self._cluster.taking(run.at, job.needs)
        course.starts.append(now)
        self._expect(now + course.left, job.name)

    def _as_known(self, run: Running, now: float) -> Running:
        """With the job's next checkpoint; what yields keeps the one that it was asked for."""
        if run.yielding or self._every == math.inf:
            return run
        passed = now - run.since
        return replace(run, saves=run.since + (math.floor(passed / self._every) + 1) * self._every)

    def _expect(self, at: float, name: str) -> None:
        heapq.heappush(self._events, (at, name, len(self._outcome.courses[name].starts)))

    def _count(self, run: Running, now: float) -> None:
        self._outcome.busy += float(self._cluster.takes(run.at, run.job.needs).sum()) * (now - run.since)

    def _rates(self) -> dict[str, int]:
        rates: dict[str, int] = {}
        for run in self._running.values():
            needs = run.job.needs
            rates[run.job.project] = rates.get(run.job.project, 0) + needs.ranks
        return rates
