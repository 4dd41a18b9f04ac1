"""Which run gets which nodes when the past counts: shards that lie somewhere, and what projects have had."""

from __future__ import annotations

from dataclasses import replace

from hub.training.allocation import RETURN, Allocation, Order
from hub.training.gangs import agents
from hub.training.nodes import Attached
from hub.training.placement.shares import HALF_LIFE
from hub.training.placement.values import Start, Yield
from hub.training.states import Copy, Doubt, Work
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.runs import RunSpec
from tests.hub.training.test_scheduler import SPEC

NOW = 1_000_000.0


def order(project: str = "core", since: float = NOW, **placement: object) -> Order:
    return Order(
        RunSpec.read({**SPEC.model_dump(), "placement": {"nodes": 1, **placement}}),
        project,
        since,
    )


def attached(*names: str) -> list[Attached]:
    return [Attached(name, training_pb2.Hello()) for name in names]


def starts(
    allocation: Allocation, works: list[Work], orders: dict[str, Order], nodes: list[Attached], now: float = NOW
) -> tuple[Start, ...]:
    waiting = [work.run for work in works if work.phase == "queued"]
    return allocation.decide({work.run: work for work in works}, waiting, orders, nodes, now)[0].starts


def test_a_run_waits_for_the_nodes_that_hold_its_shards_while_they_are_busy() -> None:
    mine = Work("run-1", registered=10, registered_on=("a",))
    other = Work("run-2", phase="training", attempt=1, nodes=("a",))
    orders = {"run-1": order(), "run-2": order()}
    allocation, nodes = Allocation(), attached("a", "b")
    assert starts(allocation, [mine, other], orders, nodes) == ()
    assert starts(allocation, [mine, other], orders, nodes, NOW + 10 * RETURN) == ()
    assert starts(allocation, [mine], orders, nodes, NOW + 11 * RETURN) == (Start("run-1", ("a",)),)


def test_a_run_waits_a_while_for_a_node_that_is_away_and_then_starts_over_elsewhere() -> None:
    work, orders, allocation = Work("run-1", registered=10, registered_on=("a",)), {"run-1": order()}, Allocation()
    assert starts(allocation, [work], orders, attached("b"), NOW) == ()
    assert starts(allocation, [work], orders, attached("b"), NOW + RETURN - 1) == ()
    assert starts(allocation, [work], orders, attached("b"), NOW + RETURN) == (Start("run-1", ("b",)),)


def test_how_long_it_waits_is_for_the_hub_to_say() -> None:
    work, orders, allocation = Work("run-1", registered=10, registered_on=("a",)), {"run-1": order()}, Allocation(5)
    assert starts(allocation, [work], orders, attached("b"), NOW) == ()
    assert starts(allocation, [work], orders, attached("b"), NOW + 5) == (Start("run-1", ("b",)),)


def test_a_node_that_came_back_meanwhile_is_waited_for_anew() -> None:
    work, orders, allocation = Work("run-1", registered=10, registered_on=("a",)), {"run-1": order()}, Allocation()
    starts(allocation, [work], orders, attached("b"), NOW)
    assert starts(allocation, [work], orders, attached("a", "b"), NOW + RETURN) == (Start("run-1", ("a",)),)
    assert starts(allocation, [work], orders, attached("b"), NOW + RETURN + 1) == ()


COPY = Copy(step=10, pieces=())


def test_a_run_that_is_copied_goes_on_with_the_nodes_that_are_left_once_the_others_stay_away() -> None:
    work = Work("run-1", registered=10, registered_on=("a", "b"), copies=(COPY,))
    orders, allocation = {"run-1": order(nodes=2)}, Allocation()
    assert starts(allocation, [work], orders, attached("a")) == ()
    assert starts(allocation, [work], orders, attached("a"), NOW + RETURN - 1) == ()
    assert starts(allocation, [work], orders, attached("a"), NOW + RETURN) == (Start("run-1", ("a",)),)
    bare = replace(work, copies=())
    assert starts(allocation, [bare], orders, attached("a"), NOW + 10 * RETURN) == (), "there is nothing to go on from"


def test_a_run_that_goes_on_with_fewer_keeps_to_its_shards_until_it_is_copied_and_more_are_there() -> None:
    orders, allocation = {"run-1": order(nodes=2)}, Allocation()
    fewer = Work("run-1", registered=20, registered_on=("a",), copies=(COPY,), ranks=1)
    assert starts(allocation, [fewer], orders, attached("a", "b")) == (Start("run-1", ("a",)),)
    as_new = replace(fewer, copies=(Copy(step=20, pieces=()), COPY))
    assert starts(allocation, [as_new], orders, attached("a")) == (Start("run-1", ("a",)),)
    (start,) = starts(allocation, [as_new], orders, attached("a", "b"))
    assert set(start.nodes) == {"a", "b"}


def test_the_project_that_has_had_less_comes_first_and_what_was_long_ago_is_forgotten() -> None:
    allocation = Allocation()
    going = Work("run-0", phase="training", attempt=1, nodes=("a",))
    allocation.account({"run-0": going}, {"run-0": order("greedy")}, NOW)
    later = NOW + 3600
    orders = {"run-1": order("greedy", later), "run-2": order("modest", later + 1)}
    allocation.account({}, {}, later)
    works = [Work("run-1"), Work("run-2")]
    assert starts(allocation, works, orders, attached("a"), later) == (Start("run-2", ("a",)),)
    allocation.account({}, {}, later + 40 * HALF_LIFE)
    assert allocation.used("greedy") < 1e-6 * 3600


def test_a_wish_is_asked_once_and_dropped_when_whoever_it_was_for_is_gone() -> None:
    allocation, nodes = Allocation(), attached("a")
    works = {
        "run-1": Work("run-1", phase="training", attempt=1, nodes=("a",)),
        "run-2": Work("run-2"),
    }
    orders = {"run-1": order(), "run-2": order(priority=1)}
    for step, at in ((5, NOW - 10), (10, NOW)):
        metric = common_pb2.Metric(step=step, name="loss", value=1.0)
        allocation.progressed("run-1", training_pb2.TrainingProgress(metrics=[metric]), at)
    decision, _ = allocation.decide(works, ["run-2"], orders, nodes, NOW)
    assert decision.yields == (Yield("run-1", "run-2"),)
    assert decision.reserved is not None
    assert decision.reserved.at == NOW + 20, "its next checkpoint at the pace that it has"
    assert allocation.decide(works, ["run-2"], orders, nodes, NOW)[0].yields == ()
    assert allocation.yields_for("run-1") == "run-2"
    allocation.decide({"run-1": works["run-1"]}, [], orders, nodes, NOW)
    assert allocation.yields_for("run-1") == ""


def test_whoever_has_doubted_a_copy_is_left_out_where_others_are_free() -> None:
    orders, allocation = {"run-1": order()}, Allocation()
    work = replace(Work("run-1", copies=(COPY,)), doubt=Doubt("a", 10))
    assert starts(allocation, [work], orders, attached("a", "b")) == (Start("run-1", ("b",)),)
    assert starts(allocation, [work], orders, attached("a")) == (Start("run-1", ("a",)),), "there is nobody else"
    nodes = [cluster_agent("dgx", 2), *attached("b")]
    doubted = replace(work, doubt=Doubt("dgx", 10))
    assert starts(allocation, [doubted], orders, nodes) == (Start("run-1", ("b",)),)


def test_a_run_that_shrank_onto_a_cluster_waits_for_as_many_of_its_machines_as_it_had() -> None:
    orders, allocation = {"run-1": order(nodes=3)}, Allocation()
    fewer = Work("run-1", registered=20, registered_on=("dgx",), copies=(COPY,), ranks=2)
    (start,) = starts(allocation, [fewer], orders, [cluster_agent("dgx", 2)])
    assert len(start.nodes) == 2


def cluster_agent(name: str, machines: int) -> Attached:
    return Attached(name, training_pb2.Hello(inventory=training_pb2.Inventory(machines=machines)))


def test_a_cluster_s_agent_takes_a_gang_as_a_whole_and_mixes_with_nobody() -> None:
    work, orders = Work("run-1"), {"run-1": order(nodes=3)}
    nodes = [cluster_agent("dgx", 2), *attached("a", "b")]
    assert starts(Allocation(), [work], orders, nodes) == ()
    (start,) = starts(Allocation(), [work], orders, [cluster_agent("dgx", 4), *attached("a", "b")])
    assert agents(start.nodes) == ("dgx",)
    assert len(start.nodes) == 3


def test_a_cluster_s_agent_is_busy_as_a_whole_and_waited_for_by_whoever_has_shards_there() -> None:
    busy = Work("run-0", phase="training", attempt=1, nodes=("dgx",))
    mine = Work("run-1", registered=10, registered_on=("dgx",))
    orders = {"run-0": order(), "run-1": order(nodes=2)}
    nodes = [cluster_agent("dgx", 4), *attached("a", "b")]
    allocation = Allocation()
    assert starts(allocation, [busy, mine], orders, nodes) == ()
    (start,) = starts(allocation, [mine], orders, nodes, NOW + 10 * RETURN)
    assert agents(start.nodes) == mine.registered_on
