"""Decisions about gangs, against every cluster, queue and past that hypothesis thinks of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.training.placement.cluster import Cluster
from hub.training.placement.deciding import decide
from hub.training.placement.simulation import Arrival, Simulation
from hub.training.placement.values import Decision, Job, Needs, Node, Reservation, Running, Start, Yield

NOW = 1000.0


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    kinds = [(), ("H200",) * 2, ("H200",) * 4, ("A100",) * 2]
    return [
        Node(
            f"node-{number}",
            draw(st.sampled_from(kinds)),
            cores=2,
            labels={"rack": draw(st.sampled_from("ab"))} if draw(st.booleans()) else {},
            healthy=draw(st.integers(0, 9)) > 0,
        )
        for number in range(draw(st.integers(1, 8)))
    ]


@st.composite
def jobs(draw: st.DrawFn, name: str) -> Job:
    needs = Needs(draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.booleans()))
    expected = draw(st.sampled_from([10.0, 100.0, 1000.0, math.inf]))
    waited = draw(st.integers(0, 3)) * 50_000.0
    return Job(name, needs, draw(st.sampled_from("xyz")), draw(st.integers(0, 2)), NOW - waited, expected)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Cluster, list[Job], list[Running]]:
    """A cluster on which something runs, some of it about to yield, and a queue."""
    cluster = Cluster(draw(clusters()))
    running: list[Running] = []
    for number in range(draw(st.integers(0, 6))):
        job = draw(jobs(f"running-{number}"))
        places = cluster.fit(cluster.free, job.needs)
        if places is not None:
            ends = draw(st.sampled_from([NOW - 5, NOW + 5, NOW + 50, NOW + 500, math.inf]))
            saves = draw(st.sampled_from([NOW + 2, NOW + 20, math.inf]))
            yielding = draw(st.booleans()) and saves < math.inf
            running.append(Running(job, places, float(number), ends, saves, yielding))
            cluster = cluster.taking(places, job.needs)
    return cluster, [draw(jobs(f"job-{number}")) for number in range(draw(st.integers(0, 10)))], running


def after(cluster: Cluster, queue: list[Job], starts: tuple[Start, ...]) -> Cluster:
    needs = {job.name: job.needs for job in queue}
    for start in starts:
        cluster = cluster.taking(cluster.numbers(start.nodes), needs[start.job])
    return cluster


@given(situations())
def test_nothing_is_given_twice(situation: tuple[Cluster, list[Job], list[Running]]) -> None:
    cluster, queue, running = situation
    decision = decide(cluster, queue, running, {}, NOW)
    assert (after(cluster, queue, decision.starts).free >= 0).all()
    assert len({start.job for start in decision.starts}) == len(decision.starts)


@given(situations())
def test_all_ranks_start_or_none_on_healthy_nodes_of_one_kind(
    situation: tuple[Cluster, list[Job], list[Running]],
) -> None:
    cluster, queue, running = situation
    needs = {job.name: job.needs for job in queue}
    for start in decide(cluster, queue, running, {}, NOW).starts:
        places = cluster.numbers(start.nodes)
        assert len(set(start.nodes)) == len(start.nodes) == needs[start.job].nodes
        assert (cluster.slots[places] >= needs[start.job].per_node).all()
        assert not needs[start.job].whole or (cluster.free[places] == cluster.slots[places]).all()
        assert len({cluster.kind_of(number) for number in places.tolist()}) == 1


@given(situations())
def test_backfill_never_delays_the_head(situation: tuple[Cluster, list[Job], list[Running]]) -> None:
    """At the promised moment the reserved nodes are free, whatever has been started before the head."""
    cluster, queue, running = situation
    decision = decide(cluster, queue, running, {}, NOW)
    if decision.reserved is None:
        return
    known = {job.name: job for job in queue}
    at, head = decision.reserved.at, known[decision.reserved.job]
    victims = {wish.job for wish in decision.yields}
    room = after(cluster, queue, decision.starts)
    for run in running:
        leaves = min(run.ends, run.saves) if run.yielding or run.job.name in victims else run.ends
        if max(leaves, NOW) <= at:
            room = room.giving(run.at, run.job.needs)
    for start in decision.starts:
        if NOW + known[start.job].expected <= at:
            room = room.giving(room.numbers(start.nodes), known[start.job].needs)
    places = room.numbers(decision.reserved.nodes)
    assert len(places) == head.needs.nodes
    assert (room.free[places] >= room.takes(places, head.needs)).all()


@given(situations())
def test_only_lower_priorities_yield_and_only_for_somebody_who_can_start_sooner(
    situation: tuple[Cluster, list[Job], list[Running]],
) -> None:
    cluster, queue, running = situation
    decision = decide(cluster, queue, running, {}, NOW)
    going = {run.job.name: run for run in running}
    for wish in decision.yields:
        assert decision.reserved is not None
        assert wish.so_that == decision.reserved.job
        victim = going[wish.job]
        assert not victim.yielding
        assert victim.job.priority < next(job for job in queue if job.name == wish.so_that).priority
        assert victim.saves <= decision.reserved.at < math.inf
        assert np.isin(victim.at, cluster.numbers(decision.reserved.nodes)).any()


@given(situations())
def test_nobody_is_passed_over_without_a_reason(situation: tuple[Cluster, list[Job], list[Running]]) -> None:
    """What is neither started nor reserved nor stuck stands behind a head."""
    cluster, queue, running = situation
    decision = decide(cluster, queue, running, {}, NOW)
    named = {start.job for start in decision.starts} | set(decision.stuck)
    if decision.reserved is None:
        assert named == {job.name for job in queue}
    for name in decision.stuck:
        needs = next(job.needs for job in queue if job.name == name)
        assert not cluster.holds(cluster.slots, needs)


@st.composite
def traces(draw: st.DrawFn) -> tuple[list[Node], list[Arrival]]:
    """Equal jobs but for their size and length, known exactly, that fit the cluster."""
    nodes = [Node(f"node-{number}", ("H200",) * 2) for number in range(draw(st.integers(1, 5)))]
    arrivals = []
    for number in range(draw(st.integers(1, 12))):
        seconds = float(draw(st.integers(1, 50)))
        needs = Needs(draw(st.integers(1, len(nodes))), draw(st.integers(1, 2)))
        arrivals.append(Arrival(Job(f"job-{number:02}", needs, "x", 0, draw(st.integers(0, 60)), seconds), seconds))
    return nodes, arrivals


@given(traces())
def test_every_promise_is_kept_and_every_job_ends(trace: tuple[list[Node], list[Arrival]]) -> None:
    outcome = Simulation(*trace, decide).run()
    for course in outcome.courses.values():
        assert course.ended < math.inf
        assert all(course.starts[0] <= reservation.at for reservation in course.reserved)
    assert outcome.busy == sum(a.seconds * a.job.needs.ranks for a in trace[1])


def test_a_big_gang_is_not_starved_by_a_stream_of_small_ones() -> None:
    nodes = [Node(f"node-{number}", ("H200",)) for number in range(4)]
    small = [Arrival(Job(f"small-{n}", Needs(1), "x", 0, n * 2.0, 9.0), 9.0) for n in range(200)]
    big = Arrival(Job("big", Needs(4), "x", 0, 20.0, 9.0), 9.0)
    course = Simulation(nodes, [*small, big], decide).run().courses["big"]
    assert course.waited <= 9.0


def test_a_short_job_goes_ahead_of_a_gang_that_waits_and_a_long_one_only_beside_it() -> None:
    cluster = Cluster([Node("a", ("H200",) * 2), Node("b", ("H200",) * 2)])
    running = [Running(Job("old", Needs(1, 2)), cluster.numbers(["a"]), ends=NOW + 100)]
    cluster = cluster.taking(running[0].at, running[0].job.needs)
    gang = Job("gang", Needs(2, 2), submitted=NOW - 10)
    short, long = (Job(str(seconds), Needs(1), submitted=NOW, expected=seconds) for seconds in (50.0, 500.0))
    decision = decide(cluster, [short, long, gang], running, {}, NOW)
    assert decision.starts == (Start("50.0", ("b",)),)
    assert decision.reserved is not None
    assert (decision.reserved.job, decision.reserved.at) == ("gang", NOW + 100)
    smaller = Job("gang", Needs(2), submitted=NOW - 10)
    spare = decide(cluster, [long, smaller], running, {}, NOW)
    assert spare.starts == (Start("500.0", ("b",)),), "one slot of b is enough for the gang"


def test_two_long_jobs_do_not_take_the_same_spare_slot() -> None:
    cluster = Cluster([Node("a", ("H200",) * 2), Node("b", ("H200",) * 2)])
    running = [Running(Job("old", Needs(1, 2)), cluster.numbers(["a"]), ends=NOW + 100)]
    cluster = cluster.taking(running[0].at, running[0].job.needs)
    queue = [
        Job("gang", Needs(2), submitted=0.0),
        Job("one", Needs(1), submitted=1.0),
        Job("two", Needs(1), submitted=2.0),
    ]
    assert decide(cluster, queue, running, {}, NOW).starts == (Start("one", ("b",)),)


def test_the_head_is_promised_the_slots_of_what_starts_in_the_same_moment() -> None:
    cluster = Cluster([Node("a", ("H200",))])
    queue = [Job("first", Needs(1), submitted=0.0, expected=100.0), Job("second", Needs(1), submitted=1.0)]
    assert decide(cluster, queue, [], {}, NOW).reserved == Reservation("second", NOW + 100, ("a",))


def test_a_higher_priority_has_the_last_and_least_stop_at_their_checkpoint() -> None:
    cluster = Cluster([Node(name, ("H200",)) for name in "abcd"])
    running = [
        Running(Job(name, Needs(1), priority=priority), cluster.numbers([name]), since, NOW + 9000, NOW + 60)
        for name, priority, since in [("a", 0, 1.0), ("b", 0, 3.0), ("c", 0, 2.0), ("d", 1, 4.0)]
    ]
    for run in running:
        cluster = cluster.taking(run.at, run.job.needs)
    urgent = Job("urgent", Needs(2), priority=1, submitted=NOW)
    decision = decide(cluster, [urgent], running, {}, NOW)
    assert set(decision.yields) == {Yield("b", "urgent"), Yield("c", "urgent")}
    assert decision.reserved is not None
    assert decision.reserved.at == NOW + 60
    assert decide(cluster, [Job("equal", Needs(2), submitted=NOW)], running, {}, NOW).yields == ()


def test_what_yields_already_is_enough() -> None:
    cluster = Cluster([Node("a", ("H200",)), Node("b", ("H200",))])
    jobs = [Running(Job(n, Needs(1)), cluster.numbers([n]), 0.0, NOW + 9000, NOW + 60, n == "a") for n in "ab"]
    for run in jobs:
        cluster = cluster.taking(run.at, run.job.needs)
    assert decide(cluster, [Job("urgent", Needs(1), priority=1)], jobs, {}, NOW).yields == ()


def test_what_yields_goes_on_where_it_stopped_and_both_end() -> None:
    nodes = [Node("a", ("H200",))]
    low = Arrival(Job("low", Needs(1), expected=100.0), 100.0)
    high = Arrival(Job("high", Needs(1), priority=1, submitted=25.0, expected=10.0), 10.0)
    outcome = Simulation(nodes, [low, high], decide, checkpoint_every=30.0).run()
    assert outcome.courses["high"].starts == [30.0]
    assert outcome.courses["low"].starts == [0.0, 40.0]
    assert outcome.courses["low"].ended == 110.0
    assert outcome.busy == 110.0


@pytest.mark.parametrize(("shares", "first"), [({"x": 0.9, "y": 0.1}, "of-x"), ({"x": 0.1, "y": 0.9}, "of-y")])
def test_the_project_that_has_had_less_comes_first(shares: dict[str, float], first: str) -> None:
    cluster = Cluster([Node("a", ("H200",))])
    queue = [Job("of-x", Needs(1), "x"), Job("of-y", Needs(1), "y")]
    assert decide(cluster, queue, [], shares, NOW).starts == (Start(first, ("a",)),)


def test_what_no_cluster_holds_does_not_stand_in_the_way() -> None:
    cluster = Cluster([Node("a", ("H200",))])
    queue = [Job("huge", Needs(9), submitted=0), Job("small", Needs(1), submitted=5)]
    assert decide(cluster, queue, [], {}, NOW) == Decision((Start("small", ("a",)),), stuck=("huge",))
