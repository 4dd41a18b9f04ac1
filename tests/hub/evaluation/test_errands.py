"""Evaluations that nodes do: what may go to them, what is believed of it, and what becomes of a lost one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from hub.evaluation import errands, store
from hub.evaluation.errands import TRIES, Errands
from hub.evaluation.messages import Conclusion
from hub.evaluation.outputs import believe
from hub.evaluation.reasons import TIME
from hub.evaluation.recording import Recorder
from hub.evaluation.tables import EvaluationRow
from hub.evaluation.turns import Pair
from hub.training import lending
from hub.training.lending import FAILURES, Lending
from hub.training.nodes import Attached, Attachments
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.evaluations import Sample
from tests.hub.conftest import Base
from tests.hub.evaluation.conftest import record_suite, suite_files, text_rows
from tests.hub.models.conftest import record_model
from trust.digests import digest_bytes

READING = [{"name": "reading", "kind": "perplexity", "data": "reading.jsonl"}]


def said(items: int, longer: int = 0) -> bytes:
    """A log of the suite's texts, of which more may be told to be there than are."""
    sizes = [len(row["text"].encode()) + longer for row in text_rows()[:items]]
    samples = [
        Sample(task="reading", item=item, log_likelihoods=(-9.0,), lengths=(size,)) for item, size in enumerate(sizes)
    ]
    words = [*samples, Conclusion()]
    return b"".join(word.model_dump_json(exclude_none=True).encode() + b"\n" for word in words)


class Coalition:
    """A hub's errands, and nodes that are played by what they say."""

    def __init__(self, hub: Base) -> None:
        self.hub, self.attachments = hub, Attachments()
        self.looked = 0  # times that the run of a node was looked up
        self.lending = Lending(self.attachments, self._run_of)
        recorder = Recorder(database=hub.database, blobs=hub.blobs, journal=hub.journal)
        self.back = asyncio.Event()
        self.errands = Errands(self.lending, recorder, 60, self.back.set)

    def _run_of(self, node: str) -> str:
        self.looked += 1
        return ""

    def attach(self, name: str) -> Attached:
        node = Attached(name, training_pb2.Hello(evaluates=True), greeted=True)
        self.attachments.add(node)
        return node

    def answer(self, node: Attached, order: training_pb2.Evaluate, output: bytes = b"", trouble: str = "") -> None:
        file = common_pb2.File(digest=self.hub.blobs.put(output))
        self.lending.answered(
            node, training_pb2.Evaluated(id=order.id, output=file, harness="lm-eval 1", trouble=trouble)
        )

    def waiting(self) -> list[Pair]:
        with self.hub.database.session() as session:
            return [(model, suite) for model, suites in store.waiting(session) for suite in suites]

    def rows(self) -> dict[tuple[str, str], EvaluationRow]:
        with self.hub.database.session() as session:
            return {(row.model, row.suite): row for row in store.recorded(session)}

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                self.back.clear()
                await self.back.wait()


@pytest.fixture
async def coalition(hub: Base, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Coalition]:
    monkeypatch.setattr(lending, "TICK", 0.01)
    monkeypatch.setattr(errands, "LOOK", 0.01)
    hub.enrol("law-institute")
    found = Coalition(hub)
    running = asyncio.create_task(found.errands.run(found.waiting))
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await found.errands.stop()


async def order(node: Attached) -> training_pb2.Evaluate:
    message = await asyncio.wait_for(node.outgoing.get(), 30)
    assert message is not None
    return message.evaluate


async def test_what_every_member_may_read_goes_to_a_node_and_the_statement_names_it(coalition: Coalition) -> None:
    suite = record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    for visibility in ("hub", "sealed"):
        files = suite_files(f"{visibility}-exam", READING)
        record_suite(coalition.hub, "law-institute", files, visibility=visibility)  # type: ignore[arg-type]
    record_model(coalition.hub, "tiny-1")
    node = coalition.attach("node-1")
    asked = await order(node)
    assert (asked.model, asked.suite) == ("tiny-1", suite.id)
    coalition.answer(node, asked, said(len(text_rows())))
    await coalition.until(lambda: bool(coalition.rows()))
    (row,) = coalition.rows().values()
    assert (row.suite, row.node, row.failure) == (suite.id, "node-1", "")
    assert store.scores(row)[0].items == len(text_rows())
    assert [each.visibility for _, each in coalition.waiting()] == ["hub", "sealed"], "these never leave the hub"
    assert coalition.errands.own(coalition.waiting()) == coalition.waiting()


async def test_a_log_that_brings_its_own_key_to_the_answers_is_no_log_of_the_suite(coalition: Coalition) -> None:
    """Texts told to be longer than they are would have fewer bits a byte."""
    record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    record_model(coalition.hub, "tiny-1")
    node = coalition.attach("node-1")
    asked = await order(node)
    coalition.answer(node, asked, said(len(text_rows()), longer=1000))
    await coalition.until(lambda: not coalition.errands.has(asked.model, asked.suite))
    assert not coalition.rows()


async def test_what_a_lost_node_had_goes_to_another(coalition: Coalition) -> None:
    record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    record_model(coalition.hub, "tiny-1")
    lost = coalition.attach("node-1")
    await order(lost)
    other = coalition.attach("node-2")
    coalition.attachments.remove(lost)
    coalition.answer(other, await order(other), said(len(text_rows())))
    await coalition.until(lambda: bool(coalition.rows()))
    assert [row.node for row in coalition.rows().values()] == ["node-2"]


async def test_what_is_no_log_of_the_suites_items_is_not_recorded_and_another_node_is_asked(
    coalition: Coalition,
) -> None:
    """None has a pair twice; without another the hub does it. A model does not fail because of a node."""
    record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    record_model(coalition.hub, "tiny-1")
    waiting = coalition.waiting()
    first, second = coalition.attach("node-1"), coalition.attach("node-2")
    coalition.answer(first, await order(first), trouble="its disk is full")
    coalition.answer(second, await order(second), said(len(text_rows()) - 1))
    await coalition.until(lambda: coalition.errands.own(waiting) == waiting)
    assert first.outgoing.empty()
    assert not coalition.rows()
    coalition.answer(third := coalition.attach("node-3"), await order(third), said(len(text_rows())))
    await coalition.until(lambda: bool(coalition.rows()))


async def test_a_pair_that_many_nodes_failed_is_the_hubs(coalition: Coalition) -> None:
    record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    record_model(coalition.hub, "tiny-1")
    waiting = coalition.waiting()
    for number in range(TRIES):
        node = coalition.attach(f"node-{number}")
        coalition.answer(node, await order(node), trouble="its disk is full")
        await coalition.until(lambda: coalition.errands.own(waiting) == waiting)
    coalition.attach("node-that-is-well")
    assert coalition.errands.own(waiting) == waiting


async def test_a_node_that_fails_at_everything_is_asked_no_more_until_it_attaches_anew(coalition: Coalition) -> None:
    record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    for number in range(FAILURES + 1):
        record_model(coalition.hub, f"tiny-{number + 1}")
    waiting = coalition.waiting()
    node = coalition.attach("node-1")
    had = []
    for _ in range(FAILURES):
        asked = await order(node)
        had.append(asked.model)
        coalition.answer(node, asked, b"no log")
    await coalition.until(lambda: coalition.errands.own(waiting) == waiting)
    assert len(set(had)) == FAILURES
    assert node.outgoing.empty()
    assert (await order(coalition.attach("node-1"))).model not in had


def test_nodes_are_looked_up_once_for_all_that_waits(hub: Base) -> None:
    """The evaluator asks after every pair that it has done."""
    hub.enrol("law-institute")
    coalition = Coalition(hub)
    record_suite(hub, "law-institute", suite_files(tasks=READING))
    for number in range(3):
        record_model(hub, f"tiny-{number + 1}")
    waiting = coalition.waiting()
    coalition.attach("node-1")
    assert (len(waiting), coalition.errands.own(waiting)) == (3, [])
    assert coalition.looked == 1


async def test_that_a_pair_fails_is_for_the_hub_to_find_out(coalition: Coalition) -> None:
    """Other nodes would take as long to say the same."""
    record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    record_model(coalition.hub, "tiny-1")
    (pair,) = coalition.waiting()
    node = coalition.attach("node-1")
    asked = await order(node)
    coalition.lending.answered(node, training_pb2.Evaluated(id=asked.id, why=f"{TIME} (60 seconds)"))
    await coalition.until(lambda: coalition.errands.own([pair]) == [pair])
    assert not coalition.rows()
    assert node.outgoing.empty()


async def test_a_node_computes_nothing_twice(coalition: Coalition) -> None:
    suite = record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    record_model(coalition.hub, "tiny-1")
    node = coalition.attach("node-1")
    coalition.answer(node, await order(node), said(len(text_rows())))
    await coalition.until(lambda: len(coalition.rows()) == 1)
    record_model(coalition.hub, "tiny-2")
    coalition.errands.heard()
    await coalition.until(lambda: len(coalition.rows()) == 2)
    first, second = (coalition.rows()[model, suite.id] for model in ("tiny-1", "tiny-2"))
    assert (second.same_as, second.scores, second.samples) == (first.id, first.scores, first.samples)
    assert node.outgoing.empty()


async def test_a_log_that_others_keep_from_nodes_is_not_taken_for_a_nodes_own(coalition: Coalition) -> None:
    """It would be published with the scores."""
    sealed = record_suite(coalition.hub, "law-institute", suite_files("own-exam", READING), visibility="sealed")
    record_model(coalition.hub, "tiny-1")
    recorder = Recorder(database=coalition.hub.database, blobs=coalition.hub.blobs, journal=coalition.hub.journal)
    secret = believe(said(len(text_rows())), suite_files("own-exam", READING))
    (pair,) = coalition.waiting()
    assert pair[1].id == sealed.id
    await asyncio.to_thread(recorder.record, *pair, secret, "lm-eval 1")
    record_suite(coalition.hub, "law-institute", suite_files(tasks=READING))
    node = coalition.attach("node-1")
    asked = await order(node)
    coalition.lending.answered(
        node,
        training_pb2.Evaluated(
            id=asked.id, output=common_pb2.File(digest=digest_bytes(secret.log)), harness="lm-eval 1"
        ),
    )
    await coalition.until(lambda: coalition.errands.own(coalition.waiting()) != [])
    assert [row.suite for row in coalition.rows().values()] == [sealed.id]
