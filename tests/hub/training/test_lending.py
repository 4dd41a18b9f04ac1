"""Whom the hub can ask to evaluate, and what ends a lease: a lost node, a run, silence."""

from __future__ import annotations

import asyncio

import pytest

from hub.training import lending
from hub.training.lending import FAILURES, Lending
from hub.training.nodes import Attached, Attachments
from protos.coalition.v1 import training_pb2
from trust.errors import Unavailable

ORDER = training_pb2.Evaluate(id="a", seconds=60)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "TICK", 0.01)


def attach(attachments: Attachments, name: str, *, evaluates: bool = True) -> Attached:
    node = Attached(name, training_pb2.Hello(evaluates=evaluates), greeted=True)
    attachments.add(node)
    return node


def test_free_are_those_that_want_to_are_well_and_have_no_run() -> None:
    attachments, runs = Attachments(), {"busy": "run-1"}
    lending = Lending(attachments, lambda node: runs.get(node, ""))
    for name in ("well", "busy", "ill", "silent"):
        attach(attachments, name)
    attach(attachments, "unwilling", evaluates=False)
    attach(attachments, "new").greeted = False
    ill, silent = attachments.get("ill"), attachments.get("silent")
    assert ill is not None
    assert silent is not None
    ill.hello.inventory.health = "its disk is full"
    silent.heard -= 60
    assert lending.free() == lending.willing() == ["well"]


async def test_a_node_does_one_order_at_a_time_and_its_own_answer_counts() -> None:
    attachments = Attachments()
    lending = Lending(attachments, lambda _: "")
    node, other = attach(attachments, "one"), attach(attachments, "two")
    asked = asyncio.create_task(lending.ask("one", ORDER))
    assert await node.outgoing.get() == training_pb2.HubMessage(evaluate=ORDER)
    assert lending.free() == ["two"]
    assert lending.willing() == ["one", "two"], "one is when it has answered"
    lending.answered(other, training_pb2.Evaluated(id="a", harness="another's"))
    lending.answered(node, training_pb2.Evaluated(id="b", harness="another order's"))
    lending.answered(node, training_pb2.Evaluated(id="a", harness="its own"))
    assert (await asked).harness == "its own"
    assert lending.free() == ["one", "two"]


@pytest.mark.parametrize("how", ["gone", "back", "run"])
async def test_a_lease_ends_with_the_conversation_or_when_a_run_needs_the_node(how: str) -> None:
    attachments, runs = Attachments(), dict[str, str]()
    lending = Lending(attachments, lambda node: runs.get(node, ""))
    node = attach(attachments, "one")
    asked = asyncio.create_task(lending.ask("one", ORDER))
    await node.outgoing.get()
    if how == "run":
        runs["one"] = "run-1"
    else:
        attachments.remove(node)
    if how == "back":
        attach(attachments, "one")
    with pytest.raises(Unavailable, match="lost, or a run needs it"):
        await asked
    assert lending.free() == (["one"] if how == "back" else [])


async def test_a_node_that_lacks_its_sandbox_is_not_asked_again_before_it_attaches_anew() -> None:
    attachments = Attachments()
    lending = Lending(attachments, lambda _: "")
    node = attach(attachments, "one")
    asked = asyncio.create_task(lending.ask("one", ORDER))
    await node.outgoing.get()
    lending.answered(node, training_pb2.Evaluated(id="a", trouble="no seccomp", unable=True))
    assert (await asked).unable
    assert lending.willing() == []
    attach(attachments, "one")
    assert lending.free() == ["one"]


async def test_a_node_that_does_not_answer_in_time_is_not_asked_again_before_it_attaches_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its heart goes on beating: nothing else would tell it from one that is well."""
    monkeypatch.setattr("hub.training.lending.GRACE", -ORDER.seconds)
    attachments = Attachments()
    lending = Lending(attachments, lambda _: "")
    attach(attachments, "one")
    with pytest.raises(Unavailable, match="not answered in time"):
        await lending.ask("one", ORDER)
    assert lending.willing() == []
    attach(attachments, "one")
    assert lending.free() == ["one"]


def test_answers_of_no_use_count_when_there_is_none_of_use_between() -> None:
    attachments = Attachments()
    lending = Lending(attachments, lambda _: "")
    attach(attachments, "one")
    for sound in (*[False] * (FAILURES - 1), True, *[False] * (FAILURES - 1)):
        lending.judged("one", sound=sound)
        assert lending.willing() == ["one"]
    lending.judged("one", sound=False)
    assert lending.willing() == []
    attach(attachments, "one")
    assert lending.free() == ["one"]
