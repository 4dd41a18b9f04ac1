"""The evaluator with real workers: every pair gets its scores, whatever happens to a worker on the way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub.evaluation import store
from hub.evaluation.evaluator import Evaluator
from hub.evaluation.process import WorkerLost, WorkerProcess
from hub.evaluation.scorer import Scorer
from hub.evaluation.service import EvaluationsService
from hub.evaluation.tables import EvaluationRow
from hub.ledger.journal import Entry
from hub.settings import Settings
from learning.scoring import score
from protos.coalition.v1 import evaluation_pb2
from protos.documents.evaluations import Evaluation, Sample
from tests.hub.conftest import ORIGIN, Base
from tests.hub.evaluation.conftest import CHOICE, record_suite, suite_files, write
from tests.hub.models.conftest import record_model
from trust.digests import Digest, digest_bytes

pytestmark = pytest.mark.system
PATIENCE = 60.0


class Watched:
    """An evaluator, and what it recorded as it happened."""

    def __init__(self, hub: Base, directory: Path) -> None:
        settings = Settings(name=ORIGIN, directory=directory)
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

    def rows(self) -> dict[tuple[str, str], EvaluationRow]:
        with self.hub.database.session() as session:
            return {(row.model, row.suite): row for row in store.recorded(session)}


@asynccontextmanager
async def running(hub: Base) -> AsyncIterator[Watched]:
    watched = Watched(hub, hub.directory)
    task = asyncio.create_task(watched.evaluator.run())
    try:
        yield watched
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def workers(hub: Base) -> list[int]:
    """The process numbers of this hub's evaluation workers."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            environment = (entry / "environ").read_bytes() if b"hub.evaluation.worker" in command else b""
        except OSError:
            continue
        if f"HOME={hub.directory}/evaluation".encode() in environment:
            found.append(int(entry.name))
    return found


async def kill_while(hub: Base, busy: Callable[[], bool]) -> None:
    """Kill every worker that is found at it."""
    while True:
        if busy():
            for worker in workers(hub):
                os.kill(worker, signal.SIGKILL)
        await asyncio.sleep(0.05)


async def test_every_pair_is_scored_signed_and_recomputable(
    hub: Base, files: dict[str, bytes], model_folder: Path, tmp_path: Path
) -> None:
    hub.enrol("law-institute")
    suite = record_suite(hub, "law-institute", suite_files())
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        claim = await watched.next()
        late = record_suite(hub, "law-institute", suite_files("late-exam"))
        later = await watched.next()
    assert (claim.model, claim.suite, claim.suite_payload) == ("tiny-1", suite.id, suite.payload)
    assert later.suite == late.id
    assert claim.harness.startswith("lm-eval 0.4.13, torch 2.13")
    assert not claim.failure
    samples = [Sample.model_validate_json(line) for line in hub.blobs.read(Digest(str(claim.samples))).splitlines()]
    for found in claim.scores:
        again = score(found.metric, [sample for sample in samples if sample.task == found.task])
        assert again.value == found.value
    here, _ = Scorer(model_folder).evaluate(write(tmp_path / "suite", suite_files()))
    assert [found.value for found in claim.scores] == pytest.approx([found.value for found in here], rel=1e-6)
    assert watched.evaluator.current is None
    assert not (hub.directory / "evaluation" / "models").exists()


async def test_a_worker_killed_in_the_middle_is_replaced(hub: Base, files: dict[str, bytes]) -> None:
    hub.enrol("law-institute")
    suites = [record_suite(hub, "law-institute", suite_files(name)) for name in ("one-exam", "two-exam", "six-exam")]
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        first = await watched.next()
        (worker,) = workers(hub)
        os.kill(worker, signal.SIGKILL)
        claims = [first, await watched.next(), await watched.next()]
        assert worker not in workers(hub)
    assert [claim.suite for claim in claims] == [suite.id for suite in suites]
    assert not any(claim.failure for claim in claims)
    assert len(watched.rows()) == 3


async def test_a_suite_that_kills_the_worker_fails_alone(
    hub: Base, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every worker is killed while the suite is being worked on: its file is a pipe that nobody writes to."""
    hub.enrol("law-institute")
    names = ("one-exam", "bad-exam", "six-exam")
    one, bad, six = [record_suite(hub, "law-institute", suite_files(name)) for name in names]
    lay_out = Evaluator._lay_out

    def with_pipe(self: Evaluator, entries: Any, folder: Path) -> Path:
        lay_out(self, entries, folder)
        if folder.name == bad.id:
            (folder / "terms.jsonl").unlink()
            os.mkfifo(folder / "terms.jsonl")
        return folder

    monkeypatch.setattr(Evaluator, "_lay_out", with_pipe)
    async with running(hub) as watched:
        record_model(hub, "tiny-1", files)
        claims = [await watched.next()]
        killer = asyncio.create_task(kill_while(hub, lambda: watched.evaluator.current == ("tiny-1", bad.id)))
        claims += [await watched.next(), await watched.next()]
        killer.cancel()
    assert [claim.suite for claim in claims] == [one.id, bad.id, six.id]
    assert [bool(claim.failure) for claim in claims] == [False, True, False]
    assert "signal 9" in claims[1].failure


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
        service = EvaluationsService(database=hub.database, journal=hub.journal, evaluator=watched.evaluator)
        listed = await service.ListEvaluations(evaluation_pb2.ListEvaluationsRequest(), None)
    assert claim.suite == good.id
    assert [(row.suite, row.state) for row in listed.evaluations] == [(good.id, "finished"), (odd.id, "waiting")]
    assert "was changed" in listed.evaluations[1].reason
    assert listed.waiting == 1


async def test_a_restarted_hub_goes_on_where_it_was(hub: Base, files: dict[str, bytes]) -> None:
    hub.enrol("law-institute")
    for name in ("one-exam", "two-exam"):
        record_suite(hub, "law-institute", suite_files(name))
    record_model(hub, "tiny-1", files)
    async with running(hub) as watched:
        first = await watched.next()
    assert workers(hub) == []
    async with running(hub) as again:
        while len(again.rows()) < 2:
            await again.next()
    assert first.suite in {suite for _, suite in again.rows()}


async def test_answers_that_nobody_asked_for_end_the_worker(hub: Base, tmp_path: Path) -> None:
    from hub.evaluation.messages import Job, SuiteFolder

    worker = WorkerProcess(tmp_path / "cache")
    folder = SuiteFolder(id="suite-1", folder=str(tmp_path), samples=str(tmp_path / "samples"))
    job = Job(model="tiny-1", folder=str(tmp_path), suites=(folder, folder))
    words = worker.ask(job, 60)
    assert "could not be loaded" in (await anext(words)).failure  # type: ignore[union-attr]
    await words.aclose()
    assert worker._process is None
    with pytest.raises(WorkerLost, match="longer than 0 seconds"):
        await anext(worker.ask(job, 0))


async def test_the_worker_never_looks_a_name_up(hub: Base, files: dict[str, bytes], tmp_path: Path) -> None:
    """A `sitecustomize` in the worker's path writes down every address lookup."""
    asked = tmp_path / "asked"
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def getaddrinfo(*words, **more):\n"
        f"    open({str(asked)!r}, 'a').write(repr(words))\n"
        "    raise OSError('no network')\n"
        "socket.getaddrinfo = getaddrinfo\n"
    )
    hub.enrol("law-institute")
    record_suite(hub, "law-institute", suite_files())
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        async with running(hub) as watched:
            record_model(hub, "tiny-1", files)
            claim = await watched.next()
    finally:
        sys.path.remove(str(tmp_path))
    assert not claim.failure
    assert not asked.exists(), asked.read_text()
    assert socket.getaddrinfo is not None
    assert json.loads(claim.model_dump_json())["suite"]
