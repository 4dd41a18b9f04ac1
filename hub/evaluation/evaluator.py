"""Evaluates every model with every suite: derives what is missing from the database, and records what comes out."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hub.blobs import BlobStore
from hub.database import Database
from hub.evaluation import store
from hub.evaluation.process import WorkerProcess
from hub.ledger.journal import Entry, Journal
from hub.models import registry
from hub.models.registry import ModelRow
from hub.settings import Settings
from hub.submissions.catalogue import Accepted
from protos.documents.base import FileEntry
from protos.documents.evaluations import Evaluation
from protos.documents.statements import HUB
from trust.digests import Digest, digest_file
from trust.errors import Conflict, Corrupt, Problem, Unavailable

TRIES = 3
SUITE_SECONDS = 3600.0
IDLE = 60.0
_log = logging.getLogger(__name__)


class Evaluator:
    """`run` lives as long as the hub; `current` says which pair is being worked on."""

    def __init__(self, *, settings: Settings, database: Database, blobs: BlobStore, journal: Journal) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal
        self._cache = settings.directory / "evaluation"
        self._worker = WorkerProcess(self._cache)
        self._news = asyncio.Event()
        self.current: tuple[str, str] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._journal.listen(lambda entry: self._heard(loop, entry))
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
        try:
            await asyncio.wait_for(self._news.wait(), IDLE)
        except TimeoutError:
            return

    def _waiting(self) -> list[tuple[ModelRow, list[Accepted[FileEntry]]]]:
        with self._database.session() as session:
            return store.waiting(session)

    async def _evaluate(self, model: ModelRow, suites: Sequence[Accepted[FileEntry]]) -> None:
        """One model by the suites that it lacks. A worker that dies is given the rest again; then they are failures."""
        left = {suite.id: suite for suite in suites}
        for attempt in range(1, TRIES + 1):
            try:
                request = await asyncio.to_thread(self._request, model, list(left.values()))
                self.current = (model.id, next(iter(left)))
                async for answer in self._worker.ask(request, SUITE_SECONDS):
                    await self._record(model, left.pop(answer["suite"]), answer)
                    self.current = (model.id, next(iter(left), ""))
            except Problem as problem:
                _log.warning("evaluating %s, attempt %d: %s", model.id, attempt, problem.diagnostics())
                if attempt == TRIES or not isinstance(problem, Unavailable):
                    await self._fail(model, list(left.values()), problem.what)
                    left.clear()
            if not left:
                break
        self.current = None
        shutil.rmtree(self._cache / "models", ignore_errors=True)

    async def _fail(self, model: ModelRow, suites: Sequence[Accepted[FileEntry]], reason: str) -> None:
        for suite in suites:
            await self._record(model, suite, {"failure": reason, "seconds": 0.0})

    async def _record(self, model: ModelRow, suite: Accepted[FileEntry], answer: dict[str, Any]) -> None:
        await asyncio.to_thread(self._record_now, model, suite, answer)

    def _record_now(self, model: ModelRow, suite: Accepted[FileEntry], answer: dict[str, Any]) -> None:
        samples = self._samples_path(suite)
        claim = Evaluation.read(
            {
                "hub": self._journal.origin,
                "signer": HUB,
                "model": model.id,
                "model_payload": model.payload,
                "suite": suite.id,
                "suite_payload": suite.payload,
                "harness": f"lm-eval {version('lm-eval')}",
                "scores": answer.get("scores", []),
                "failure": answer.get("failure", "")[:2000],
                "samples": self._blobs.put_file(samples) if "scores" in answer else None,
                "seconds": round(answer["seconds"], 3),
            }
        )
        samples.unlink(missing_ok=True)
        try:
            self._journal.sign_and_record(claim)
        except Conflict:
            return
        _log.info("%s by %s: %s", model.id, suite.name, claim.failure or f"{len(claim.scores)} scores")

    def _request(self, model: ModelRow, suites: Sequence[Accepted[FileEntry]]) -> dict[str, Any]:
        """Lay out the model's and the suites' files, verified, for the worker."""
        folder = self._lay_out(registry.files(model), self._cache / "models" / model.id)
        return {
            "model": model.id,
            "folder": str(folder),
            "suites": [
                {
                    "id": suite.id,
                    "folder": str(self._lay_out(suite.files, self._cache / "suites" / suite.id)),
                    "samples": str(self._samples_path(suite)),
                }
                for suite in suites
            ],
        }

    def _samples_path(self, suite: Accepted[FileEntry]) -> Path:
        return self._cache / f"{suite.id}.samples.jsonl"

    def _lay_out(self, files: Sequence[FileEntry], folder: Path) -> Path:
        """Raises `Corrupt` when a blob was changed on disk."""
        for file in files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._blobs.path(Digest(file.digest)), target)
            if digest_file(target) != file.digest:
                raise Corrupt(f"The hub's blob {file.digest} ({file.path}) was changed.")
        return folder
