"""Evaluates every model with every suite: derives what is missing from the database, and records what comes out."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hub.blobs import BlobStore
from hub.database import Database
from hub.evaluation import outputs, store
from hub.evaluation.outputs import Evaluated
from hub.evaluation.process import Unsafe, WorkerLost, WorkerProcess, sandbox_of
from hub.ledger.journal import Entry, Journal
from hub.models import registry
from hub.models.registry import ModelRow
from hub.settings import Settings
from hub.submissions.catalogue import Accepted
from protos.documents.base import FileEntry
from protos.documents.evaluations import Evaluation
from protos.documents.statements import HUB
from protos.documents.suite_files import MAX_SUITE, count_items, read_suite
from trust.digests import Digest
from trust.errors import Conflict, Corrupt, Invalid, Problem

TRIES = 3
SUITE_SECONDS = 3600
IDLE = 60.0
_log = logging.getLogger(__name__)

Suite = Accepted[FileEntry]


class Evaluator:
    """`run` lives as long as the hub; `current` is the pair that is being worked on, `troubles` says what holds others up."""

    def __init__(self, *, settings: Settings, database: Database, blobs: BlobStore, journal: Journal) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal
        self._sandbox = sandbox_of(settings)
        self._worker = WorkerProcess(self._sandbox)
        self._seconds = SUITE_SECONDS
        self._news = asyncio.Event()
        self.current: tuple[str, str] | None = None
        self.troubles: dict[tuple[str, str], str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._journal.listen(lambda entry: self._heard(loop, entry))
        self._clear()
        try:
            while True:
                self._news.clear()
                if not await self._pass():
                    await self._wait()
        finally:
            await self._worker.stop()

    async def _pass(self) -> bool:
        """Work on what waits; True when there are news before it is done."""
        for model, suites in await asyncio.to_thread(self._waiting):
            try:
                await self._evaluate(model, suites)
            except Unsafe:
                return False
            if self._news.is_set():
                return True
        return False

    def _heard(self, loop: asyncio.AbstractEventLoop, entry: Entry) -> None:
        if entry.kind in ("model", "suite") and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE):
                await self._news.wait()

    def _waiting(self) -> list[tuple[ModelRow, list[Suite]]]:
        with self._database.session() as session:
            return store.waiting(session)

    async def _evaluate(self, model: ModelRow, suites: Sequence[Suite]) -> None:
        """One model by the suites that it lacks. What is the hub's own trouble is left for later, and not recorded."""
        try:
            folder = await asyncio.to_thread(self._lay_out, registry.files(model), self._sandbox.models / model.id)
            for suite in suites:
                await self._pair(model, folder, suite)
        except (Problem, OSError) as error:
            for suite in suites:
                self._held_up(model, suite.id, error)
            if isinstance(error, Unsafe):
                raise
        finally:
            self.current = None
            self._clear()

    async def _pair(self, model: ModelRow, folder: Path, suite: Suite) -> None:
        """One model by one suite. Raises what holds up every suite of the model."""
        try:
            files = await asyncio.to_thread(self._read, suite)
        except (Problem, OSError) as error:
            self._held_up(model, suite.id, error)
            return
        self.current = (model.id, suite.id)
        evaluated = await self._ask(model, folder, suite, files)
        self.current = None
        await asyncio.to_thread(self._record, model, suite, evaluated)

    async def _ask(self, model: ModelRow, folder: Path, suite: Suite, files: Mapping[str, bytes]) -> Evaluated:
        """What the sandbox makes of it, in up to `TRIES` tries where it is cut short."""
        name = store.reference(suite)
        why = ""
        for attempt in range(1, TRIES + 1):
            try:
                output = await self._worker.ask(model.id, folder, suite.id, name, files, self._seconds)
                if not output.why:
                    return await asyncio.to_thread(_believe, output.lines, files, suite.visibility)
                why = f"The evaluation was cut short: {output.why}."
            except (WorkerLost, Corrupt) as lost:
                why = str(lost)
            _log.warning("evaluating %s by %s, try %d: %s", model.id, suite.id, attempt, why)
        return Evaluated((), b"", why, 0)

    def _record(self, model: ModelRow, suite: Suite, evaluated: Evaluated) -> None:
        claim = Evaluation(
            hub=self._journal.origin,
            signer=HUB,
            model=model.id,
            model_payload=model.payload,
            suite=suite.id,
            suite_payload=suite.payload,
            harness=self._worker.harness,
            scores=evaluated.scores,
            failure=evaluated.failure,
            samples=self._blobs.put(evaluated.log) if evaluated.scores else None,
            seconds=round(evaluated.seconds, 3),
        )
        try:
            self._journal.sign_and_record(claim)
        except Conflict:
            return  # the same pair was recorded before the hub was stopped
        self.troubles.pop((model.id, suite.id), None)
        _log.info("%s by %s: %s", model.id, suite.name, claim.failure or f"{len(claim.scores)} scores")

    def _read(self, suite: Suite) -> dict[str, bytes]:
        """A suite's files, verified. Raises `Invalid` for more than can be evaluated, `Corrupt`, `NotFound`."""
        if sum(file.size for file in suite.files) > MAX_SUITE:
            raise Invalid(f"The suite has more than {MAX_SUITE} bytes.")
        return {file.path: self._blobs.read(Digest(file.digest), MAX_SUITE) for file in suite.files}

    def _clear(self) -> None:
        """Drop the copies of models: they are large, and each is needed once."""
        for folder in self._sandbox.models.glob("*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _held_up(self, model: ModelRow, suite: str, error: Exception) -> None:
        self.troubles[model.id, suite] = error.what if isinstance(error, Problem) else str(error)
        _log.error("%s by %s has to wait: %s", model.id, suite, error)

    def _lay_out(self, files: Sequence[FileEntry], folder: Path) -> Path:
        """Copies of the blobs under their names. Raises `Corrupt` when one was changed on disk."""
        for file in files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._blobs.copy_out(Digest(file.digest), target)
        return folder


def _believe(lines: bytes, files: Mapping[str, bytes], visibility: str) -> Evaluated:
    """Raises `Corrupt` for an output that is not of these files. A suite that breaks its own rules has failed.

    The log of a suite that only its owner may read is public where it holds no text. A failure is in the ledger for everyone
    to read, so of a sealed suite it says no more than its kind.
    """
    try:
        suite = read_suite(files)
        items = count_items(suite, files)
    except Invalid as problem:
        return Evaluated((), b"", problem.what, 0)
    evaluated = outputs.read(lines, suite, items, texts=visibility != "hub")
    if evaluated.failure and visibility == "sealed":
        return replace(evaluated, failure=f"{evaluated.failure.partition(':')[0][:100]} (the suite is sealed)")
    return evaluated
