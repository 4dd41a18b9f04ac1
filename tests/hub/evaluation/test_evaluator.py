"""The evaluator with real workers: every pair gets its scores, whatever happens to a worker on the way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.evaluation import store
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.outputs import scores_of
from hub.evaluation.process import Output, WorkerProcess
from hub.evaluation.ranking import Rankings
from hub.evaluation.sandbox import cgroups
from hub.evaluation.sandbox.layers import refusal
from hub.evaluation.scorer import Scorer
from hub.evaluation.service import EvaluationsService
from hub.evaluation.tables import EvaluationRow
from hub.ledger.entries import Entry
from hub.ledger.grants import may_read
from hub.settings import Settings
from hub.witnesses.finality import Finality
from learning.scoring import score
from protos.coalition.v1 import evaluation_pb2
from protos.documents.evaluations import Evaluation, Sample
from protos.documents.submissions import SuiteVisibility, Withdrawal
from protos.documents.suite_files import read_suite
from tests.hub.conftest import ORIGIN, Base
from tests.hub.evaluation.conftest import CHOICE, HERE, record_suite, suite_files
from tests.hub.models.conftest import record_model
from trust.digests import Digest, digest_bytes

pytestmark = pytest.mark.system
PATIENCE = 180.0


class Watched:
    """An evaluator, and what it recorded as it happened."""

    def __init__(self, hub: Base, sandbox: tuple[str, ...]) -> None:
        settings = Settings(name=ORIGIN, directory=hub.directory, sandbox=sandbox)
        self.hub = hub
        self.evaluator = Evaluator(settings=settings, database=hub.database, blobs=hub.blobs, journal=hub.journal)
        self.recorded: asyncio.Queue[Entry] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        hub.journal.listen(lambda entry: loop.call_soon_threadsafe(self.recorded.put_nowait, entry))

    async def next(self) -> Evaluation:
        """The next evaluation that is recorded."""
        while True:
            entry = await asyncio.wait_for(self.recorded.get(), PATIENCE)
            if isinstance(entry.claim, Evaluation):
                return entry.claim

    @property
    def worker(self) -> int:
        """The worker's process."""
        process = self.evaluator._worker._process
        assert process is not None
        return process.pid

    def rows(self) -> dict[tuple[str, str], EvaluationRow]:
        with self.hub.database.session() as session:
            return {(row.model, row.suite): row for row in store.recorded(session)}


@asynccontextmanager
async def running(hub: Base, sandbox: tuple[str, ...] = HERE) -> AsyncIterator[Watched]:
    watched = Watched(hub, sandbox)
    task = asyncio.create_task(watched.evaluator.run())
    try:
        yield watched
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def watching(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The suites that a worker is asked to evaluate from now on."""
    asked: list[str] = []
    ask = WorkerProcess.ask

    async def noting(self: WorkerProcess, *words: Any) -> Output:
        asked.append(words[2])
        return await ask(self, *words)

    monkeypatch.setattr(WorkerProcess, "ask", noting)
    return asked


async def test_every_pair_is_scored_signed_and_recomputable(
    hub: Base, files: dict[str, bytes], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.enrol("law-institute")
    suite = record_suite(hub, "law-institute", suite_files())
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        claim = await watched.next()
        late = record_suite(hub, "law-institute", suite_files("late-exam"))
        later = await watched.next()
        asked = watching(monkeypatch)
        record_model(hub, "tiny-2", files)
        same = [await watched.next(), await watched.next()]
        assert not asked, "the same bytes by the same tools: nothing is computed twice"
    assert (claim.model, claim.suite, claim.suite_payload) == ("tiny-1", suite.id, suite.payload)
    assert later.suite == late.id
    rows = watched.rows()
    assert [(each.model, each.same_as) for each in same] == [
        ("tiny-2", rows["tiny-1", each.suite].id) for each in (claim, later)
    ]
    assert [(each.scores, each.samples) for each in same] == [(each.scores, each.samples) for each in (claim, later)]
    assert claim.harness.startswith("lm-eval 0.4.13, torch 2.13")
    assert not claim.failure
    samples = [Sample.model_validate_json(line) for line in hub.blobs.read(Digest(str(claim.samples))).splitlines()]
    for found in claim.scores:
        again = score(found.metric, [sample for sample in samples if sample.task == found.task])
        assert again.value == found.value
    here = scores_of(read_suite(suite_files()), Scorer(model_folder).evaluate(suite_files(), "law/exam@0123456789ab"))
    assert [found.value for found in claim.scores] == pytest.approx([found.value for found in here], rel=1e-6)
    assert watched.evaluator.current is None
    assert {path.name for path in (hub.directory / "evaluation").rglob("*")} == {"models", "worker.log"}


async def test_a_worker_killed_in_the_middle_is_replaced(hub: Base, files: dict[str, bytes]) -> None:
    hub.enrol("law-institute")
    suites = [record_suite(hub, "law-institute", suite_files(name)) for name in ("one-exam", "two-exam", "six-exam")]
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        first = await watched.next()
        worker = watched.worker
        os.kill(worker, signal.SIGKILL)
        claims = [first, await watched.next(), await watched.next()]
        assert worker != watched.worker
    assert [claim.suite for claim in claims] == [suite.id for suite in suites]
    assert not any(claim.failure for claim in claims)
    assert len(watched.rows()) == 3


async def test_a_suite_that_takes_too_long_fails_alone_and_at_once(
    hub: Base, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take as long again, and everyone else would wait."""
    hub.enrol("law-institute")
    names = ("one-exam", "bad-exam", "six-exam")
    one, bad, six = [record_suite(hub, "law-institute", suite_files(name)) for name in names]
    ask = WorkerProcess.ask
    asked: list[str] = []

    async def impatient(self: WorkerProcess, *words: Any) -> Output:
        asked.append(words[2])
        return await ask(self, *words[:-1], 0 if words[2] == bad.id else words[-1])

    monkeypatch.setattr(WorkerProcess, "ask", impatient)
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        claims = [await watched.next()]
        worker = watched.worker
        claims += [await watched.next(), await watched.next()]
        assert watched.worker == worker, "only the child of the suite had to go"
    assert [claim.suite for claim in claims] == [one.id, bad.id, six.id]
    assert [bool(claim.failure) for claim in claims] == [False, True, False]
    assert claims[1].failure == "resource: it took longer than it may (0 seconds)"
    assert asked == [one.id, bad.id, six.id], "once each"


async def test_what_dies_again_and_again_shares_one_hour(
    hub: Base, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.enrol("law-institute")
    record_suite(hub, "law-institute", suite_files())
    given: list[int] = []

    async def dying(self: WorkerProcess, *words: Any) -> Output:
        given.append(words[-1])
        clock.append(clock[-1] + 1500)
        return Output(b"", "it was killed by signal 11", 1500)

    clock = [0.0]
    monkeypatch.setattr(WorkerProcess, "ask", dying)
    monkeypatch.setattr("hub.evaluation.evaluator.time", SimpleNamespace(monotonic=lambda: clock[-1]))
    async with running(hub) as watched:
        watched.evaluator._worker.harness = "none"
        record_model(hub, "tiny-1", files)
        claim = await watched.next()
    assert given == [3600, 2100, 600]
    assert claim.failure == "The evaluation was cut short: it was killed by signal 11."


async def test_authors_take_turns(hub: Base, files: dict[str, bytes]) -> None:
    """A member with many suites does not keep the others waiting."""
    hub.enrol("law-institute")
    hub.enrol("university")
    many = [record_suite(hub, "law-institute", suite_files(f"exam-{number}")) for number in range(3)]
    few = record_suite(hub, "university", suite_files("art-exam"))
    record_model(hub, "tiny-1", files)
    async with running(hub) as watched:
        order = [(await watched.next()).suite for _ in range(4)]
    assert order == [many[0].id, few.id, many[1].id, many[2].id]


async def test_of_a_sealed_suite_nothing_lies_on_the_disk_and_its_log_is_its_owners(
    hub: Base, files: dict[str, bytes]
) -> None:
    """The per-item log holds what the model said to every item, and how likely it found each choice."""
    hub.enrol("law-institute")
    record_suite(hub, "law-institute", suite_files(), visibility="sealed")
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        claim = await watched.next()
    log = Digest(str(claim.samples))
    assert hub.blobs.sealed(log)
    assert b'"output"' in hub.blobs.read(log)
    lying = [path for path in hub.directory.rglob("*") if path.is_file()]
    assert not any(b'"log_likelihoods"' in path.read_bytes() for path in lying)
    with hub.database.session() as session:
        assert may_read(session, log, member="law-institute")
        assert not may_read(session, log, member="university")


@pytest.mark.parametrize("visibility", ["hub", "sealed"])
async def test_why_it_failed_is_told_in_fixed_words_where_the_suite_is_not_for_everyone(
    hub: Base, files: dict[str, bytes], visibility: SuiteVisibility
) -> None:
    """An item is in the reason that the sandbox gives, and in the one that the hub finds itself: none is in the ledger."""
    hub.enrol("law-institute")
    row = b'{"text": "the secret question", "choices": ["a", "a"], "answer": 0}\n'
    broken = {**suite_files(tasks=[{"name": "terms", "data": "terms.jsonl", **CHOICE}]), "terms.jsonl": row}
    record_suite(hub, "law-institute", broken, visibility=visibility)
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        claim = await watched.next()
    assert claim.failure == "The suite breaks its own rules."


async def test_a_suite_that_is_withdrawn_while_it_waits_is_not_evaluated(
    hub: Base, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long what is before it takes."""
    hub.enrol("law-institute")
    one, two = [record_suite(hub, "law-institute", suite_files(name)) for name in ("one-exam", "two-exam")]
    record_model(hub, "tiny-1", files)
    ask = WorkerProcess.ask
    asked: list[str] = []

    async def meanwhile(self: WorkerProcess, *words: Any) -> Output:
        asked.append(words[2])
        if words[2] == one.id:
            claim = Withdrawal(hub=ORIGIN, signer="law-institute", submission=two.id)
            await asyncio.to_thread(hub.record, claim)
        return await ask(self, *words)

    monkeypatch.setattr(WorkerProcess, "ask", meanwhile)
    async with running(hub) as watched:
        await watched.next()
        late = await asyncio.to_thread(record_suite, hub, "law-institute", suite_files("late-exam"))
        assert (await watched.next()).suite == late.id
    assert asked == [one.id, late.id]


async def test_a_model_that_cannot_be_loaded_fails_with_its_reason(hub: Base, files: dict[str, bytes]) -> None:
    hub.enrol("law-institute")
    suite = record_suite(hub, "law-institute", suite_files())
    async with running(hub) as watched:
        record_model(hub, "bad-1", {**files, "model.safetensors": b"no weights"})
        broken = await watched.next()
        record_model(hub, "tiny-1", files)
        sound = await watched.next()
    assert (broken.model, broken.suite, broken.scores, broken.samples) == ("bad-1", suite.id, (), None)
    assert "could not be loaded" in broken.failure
    assert not sound.failure


async def test_a_changed_blob_holds_up_its_pair_only_and_is_not_recorded(hub: Base, files: dict[str, bytes]) -> None:
    hub.enrol("law-institute")
    odd = record_suite(
        hub, "law-institute", suite_files("odd-exam", [{"name": "terms", "data": "terms.jsonl", **CHOICE}])
    )
    good = record_suite(hub, "law-institute", suite_files())
    digest = digest_bytes(suite_files("odd-exam", [{"name": "terms", "data": "terms.jsonl", **CHOICE}])["suite.json"])
    path = hub.blobs.path(digest)
    path.write_bytes(path.read_bytes() + b" ")
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        claim = await watched.next()
        service = EvaluationsService(
            database=hub.database, evaluator=watched.evaluator, finality=Finality(hub.log), rankings=Rankings(hub.blobs)
        )
        listed = await service.ListEvaluations(evaluation_pb2.ListEvaluationsRequest(), None)
    assert claim.suite == good.id
    assert [(row.suite, row.state) for row in listed.evaluations] == [(good.id, "finished"), (odd.id, "waiting")]
    assert "was changed" in listed.evaluations[1].reason
    assert listed.waiting == 1


@pytest.mark.parametrize("visibility", ["members", "sealed"])
async def test_a_fault_of_ours_that_one_suite_meets_stops_neither_the_others_nor_the_hub(
    hub: Base,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    visibility: SuiteVisibility,
) -> None:
    """A loop that dies takes the hub with it, and meets the same suite when it is started again."""
    hub.enrol("law-institute")
    odd = record_suite(hub, "law-institute", suite_files("odd-exam"), visibility=visibility)
    good = record_suite(hub, "law-institute", suite_files())
    ask = WorkerProcess.ask

    async def faulty(self: WorkerProcess, *words: Any) -> Output:
        if words[2] == odd.id:
            raise KeyError("the secret question")
        return await ask(self, *words)

    monkeypatch.setattr(WorkerProcess, "ask", faulty)
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        claim = await watched.next()
    assert claim.suite == good.id
    assert watched.evaluator.troubles == {("tiny-1", odd.id): "The hub met an error of its own while evaluating."}
    assert ("secret question" in caplog.text) is (visibility == "members")


async def test_a_restarted_hub_goes_on_where_it_was(hub: Base, files: dict[str, bytes]) -> None:
    hub.enrol("law-institute")
    for name in ("one-exam", "two-exam"):
        record_suite(hub, "law-institute", suite_files(name))
    record_model(hub, "tiny-1", files)
    async with running(hub) as watched:
        first = await watched.next()
    async with running(hub) as again:
        while len(again.rows()) < 2:
            await again.next()
    assert first.suite in {suite for _, suite in again.rows()}


async def test_without_a_demanded_layer_nothing_is_evaluated_or_recorded(
    hub: Base, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.enrol("law-institute")
    suite = record_suite(hub, "law-institute", suite_files())
    record_model(hub, "tiny-1", files)
    monkeypatch.setattr(cgroups, "_ROOT", hub.directory / "no-cgroups")
    async with running(hub, sandbox=("cgroup", "seccomp")) as watched:
        while ("tiny-1", suite.id) not in watched.evaluator.troubles:
            await asyncio.sleep(0.05)
        service = EvaluationsService(
            database=hub.database, evaluator=watched.evaluator, finality=Finality(hub.log), rankings=Rankings(hub.blobs)
        )
        listed = await service.ListEvaluations(evaluation_pb2.ListEvaluationsRequest(), None)
    assert [(row.state, row.reason) for row in listed.evaluations] == [("waiting", refusal(["cgroup"]))]
    assert not watched.rows()
