"""Evaluates every model with every suite: derives what is missing from the database, and records what comes out."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from hub.blobs import BlobStore
from hub.database import Database
from hub.evaluation import store
from hub.evaluation.messages import Answer, Job, SuiteFolder
from hub.evaluation.process import WorkerLost, WorkerProcess
from hub.ledger.journal import Entry, Journal
from hub.models import registry
from hub.models.registry import ModelRow
from hub.settings import Settings
from hub.submissions.catalogue import Accepted
from protos.documents.base import FileEntry
from protos.documents.evaluations import Evaluation
from protos.documents.statements import HUB
from trust.digests import Digest, digest_file
from trust.errors import Conflict, Corrupt, Problem

TRIES = 3
SUITE_SECONDS = 3600.0
IDLE = 60.0
_log = logging.getLogger(__name__)

Suite = Accepted[FileEntry]


class Evaluator:
    """`run` lives as long as the hub; `current` is the pair that is being worked on, `troubles` says what holds others up."""

    def __init__(self, *, settings: Settings, database: Database, blobs: BlobStore, journal: Journal) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal
        self._cache = settings.directory / "evaluation"
        self._worker = WorkerProcess(self._cache)
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
                for model, suites in await asyncio.to_thread(self._waiting):
                    await self._evaluate(model, suites)
                    if self._news.is_set():
                        break
                else:
                    await self._wait()
        finally:
            await self._worker.stop()

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
        left = {suite.id: suite for suite in suites}
        try:
            folder = await asyncio.to_thread(self._lay_out, registry.files(model), self._cache / "models" / model.id)
            jobs = await asyncio.to_thread(self._suite_folders, model, suites)
            left = {suite: left[suite] for suite in jobs}
            await self._ask(model, folder, left, jobs)
        except (Problem, OSError) as error:
            for suite in left:
                self._held_up(model, suite, error)
        finally:
            self.current = None
            self._clear()

    async def _ask(
        self, model: ModelRow, folder: Path, left: dict[str, Suite], folders: dict[str, SuiteFolder]
    ) -> None:
        """Let the worker answer until nothing is left. What it dies of `TRIES` times (the model, or one suite) has failed."""
        deaths: Counter[str] = Counter()
        while left:
            blamed = ""  # the model, until it is loaded
            job = Job(model=model.id, folder=str(folder), suites=tuple(folders[suite] for suite in left))
            try:
                async with aclosing(self._worker.ask(job, SUITE_SECONDS)) as words:
                    async for word in words:
                        if isinstance(word, Answer):
                            await self._take(model, left, word)
                        blamed = next(iter(left), "")
                        self.current = (model.id, blamed)
                if left:
                    raise WorkerLost("The evaluation worker left a suite out.")
            except WorkerLost as lost:
                self.current = None
                deaths[blamed] += 1
                _log.warning("evaluating %s by %s, try %d: %s", model.id, blamed or "any suite", deaths[blamed], lost)
                if deaths[blamed] == TRIES:
                    for suite in [blamed] if blamed else list(left):
                        await self._take(model, left, Answer(suite=suite, failure=str(lost), seconds=0))

    async def _take(self, model: ModelRow, left: dict[str, Suite], answer: Answer) -> None:
        if answer.suite not in left:
            raise WorkerLost("The evaluation worker answered what it was not asked.")
        await asyncio.to_thread(self._record, model, left[answer.suite], answer)
        del left[answer.suite]

    def _record(self, model: ModelRow, suite: Suite, answer: Answer) -> None:
        samples = self._samples_path(suite)
        claim = Evaluation(
            hub=self._journal.origin,
            signer=HUB,
            model=model.id,
            model_payload=model.payload,
            suite=suite.id,
            suite_payload=suite.payload,
            harness=self._worker.harness,
            scores=answer.scores,
            failure=answer.failure,
            samples=self._blobs.put_file(samples) if answer.scores else None,
            seconds=round(answer.seconds, 3),
        )
        samples.unlink(missing_ok=True)
        try:
            self._journal.sign_and_record(claim)
        except Conflict:
            return  # the same pair was recorded before the hub was stopped
        self.troubles.pop((model.id, suite.id), None)
        _log.info("%s by %s: %s", model.id, suite.name, claim.failure or f"{len(claim.scores)} scores")

    def _suite_folders(self, model: ModelRow, suites: Sequence[Suite]) -> dict[str, SuiteFolder]:
        """Every suite whose files are whole."""
        found: dict[str, SuiteFolder] = {}
        for suite in suites:
            try:
                folder = self._lay_out(suite.files, self._cache / "suites" / suite.id)
            except (Problem, OSError) as error:
                self._held_up(model, suite.id, error)
            else:
                found[suite.id] = SuiteFolder(id=suite.id, folder=str(folder), samples=str(self._samples_path(suite)))
        return found

    def _clear(self) -> None:
        """Drop the copies of models: they are large, and each is needed once."""
        shutil.rmtree(self._cache / "models", ignore_errors=True)

    def _held_up(self, model: ModelRow, suite: str, error: Exception) -> None:
        self.troubles[model.id, suite] = error.what if isinstance(error, Problem) else str(error)
        _log.error("%s by %s has to wait: %s", model.id, suite, error)

    def _samples_path(self, suite: Suite) -> Path:
        return self._cache / f"{suite.id}.samples.jsonl"

    def _lay_out(self, files: Sequence[FileEntry], folder: Path) -> Path:
        """Copies of the blobs under their names. Raises `Corrupt` when one was changed on disk."""
        for file in files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._blobs.path(Digest(file.digest)), target)
            if digest_file(target) != file.digest:
                raise Corrupt(f"The hub's blob {file.digest} ({file.path}) was changed.")
        return folder
