"""Evaluates every model with every suite: derives what is missing from the database, and records what comes out."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hub.blobs import BlobStore
from hub.database import Database
from hub.evaluation import outputs, store
from hub.evaluation.outputs import Evaluated
from hub.evaluation.process import Unsafe, WorkerLost, WorkerProcess, sandbox_of
from hub.evaluation.reasons import BROKEN, CUT_SHORT, hopeless, told
from hub.evaluation.turns import Pair, Suite, Turns
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.models import registry
from hub.models.registry import ModelRow
from hub.settings import Settings
from protos.documents.evaluations import Evaluation
from protos.documents.statements import HUB
from protos.documents.suite_files import MAX_SUITE, count_items, read_suite
from trust.digests import Digest
from trust.errors import Conflict, Corrupt, Invalid, Problem, Unavailable

TRIES = 3
SUITE_SECONDS = 3600
IDLE = 60.0
_log = logging.getLogger(__name__)


class Evaluator:
    """`run` lives as long as the hub; `current` is the pair that is being worked on, `troubles` says what holds others up."""

    def __init__(self, *, settings: Settings, database: Database, blobs: BlobStore, journal: Journal) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal
        self._sandbox = sandbox_of(settings)
        self._worker = WorkerProcess(self._sandbox)
        self._seconds = SUITE_SECONDS
        self._turns = Turns()
        self._ready = ""  # the model that is laid out
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
            self.current = None
            self._clear()

    async def _pass(self) -> bool:
        """Work on what waits, authors in turn; True when there are news before it is done."""
        waiting = await asyncio.to_thread(self._waiting)
        while waiting and not self._news.is_set():
            pair = self._turns.take(waiting, self._ready)
            try:
                await self._pair(*pair)
                waiting = [each for each in waiting if each is not pair]
            except Unsafe as error:
                self._hold_up(waiting, error)
                return False
            except (Problem, OSError) as error:  # the hub's own trouble: left for later, and not recorded
                self._hold_up([each for each in waiting if each[0].id == pair[0].id], error)
                waiting = [each for each in waiting if each[0].id != pair[0].id]
            except (
                Exception
            ) as error:  # a fault of ours that one suite meets: neither the others nor the hub stop for it
                self._hold_up([pair], _unforeseen(error, pair[1]))
                waiting = [each for each in waiting if each is not pair]
            finally:
                self.current = None
        if not self._news.is_set():
            self._clear()
        return self._news.is_set()

    def _heard(self, loop: asyncio.AbstractEventLoop, entry: Entry) -> None:
        if entry.kind in ("model", "suite", "withdrawal") and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE):
                await self._news.wait()

    def _waiting(self) -> list[Pair]:
        with self._database.session() as session:
            return [(model, suite) for model, suites in store.waiting(session) for suite in suites]

    async def _pair(self, model: ModelRow, suite: Suite) -> None:
        """One model by one suite. Raises what holds up every suite of the model."""
        folder = await asyncio.to_thread(self._lay_out, model)
        try:
            files = await asyncio.to_thread(self._read, suite)
        except (Problem, OSError) as error:
            self._hold_up([(model, suite)], error)
            return
        self.current = (model.id, suite.id)
        evaluated = await self._ask(model, folder, suite, files)
        await asyncio.to_thread(self._record, model, suite, evaluated)

    async def _ask(self, model: ModelRow, folder: Path, suite: Suite, files: Mapping[str, bytes]) -> Evaluated:
        """What the sandbox makes of it. Where it is cut short it is tried again, up to `TRIES` times within its one hour."""
        name, began, why = store.reference(suite), time.monotonic(), ""
        for attempt in range(1, TRIES + 1):
            left = self._seconds - int(time.monotonic() - began)
            try:
                output = await self._worker.ask(model.id, folder, suite.id, name, files, max(0, left))
                if not output.why:
                    found = await asyncio.to_thread(_believe, output.lines, files)
                    return replace(found, seconds=output.seconds)
                why = output.why if hopeless(output.why) else f"{CUT_SHORT}: {output.why}."
            except (WorkerLost, Corrupt) as lost:
                why = f"{CUT_SHORT}: {lost}"
            _log.warning("evaluating %s by %s, try %d: %s", model.id, suite.id, attempt, told(why, suite.visibility))
            if hopeless(why):
                break
        return Evaluated((), b"", why, time.monotonic() - began)

    def _record(self, model: ModelRow, suite: Suite, evaluated: Evaluated) -> None:
        keep = self._blobs.put_sealed if suite.visibility == "sealed" else self._blobs.put
        claim = Evaluation(
            hub=self._journal.origin,
            signer=HUB,
            model=model.id,
            model_payload=model.payload,
            suite=suite.id,
            suite_payload=suite.payload,
            harness=self._worker.harness,
            scores=evaluated.scores,
            failure=told(evaluated.failure, suite.visibility),
            samples=keep(evaluated.log) if evaluated.scores else None,
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

    def _lay_out(self, model: ModelRow) -> Path:
        """Copies of the model's blobs under their names, in place of the last model's. Raises `Corrupt` for a changed one."""
        folder = self._sandbox.models / model.id
        if self._ready == model.id:
            return folder
        self._clear()
        for file in registry.files(model):
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            self._blobs.copy_out(Digest(file.digest), target)
        self._ready = model.id
        return folder

    def _clear(self) -> None:
        """Drop the copy of a model: it is large."""
        self._ready = ""
        for folder in self._sandbox.models.glob("*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _hold_up(self, pairs: Sequence[Pair], error: Exception) -> None:
        for model, suite in pairs:
            self.troubles[model.id, suite.id] = error.what if isinstance(error, Problem) else str(error)
            _log.error("%s by %s has to wait: %s", model.id, suite.id, error)


def _unforeseen(error: Exception, suite: Suite) -> Problem:
    """What is told of it. The log says more, but not of a suite that is not for everyone: its text may be in the error."""
    _log.error("evaluating by %s: %s", suite.id, type(error).__name__, exc_info=suite.visibility == "members")
    return Unavailable("The hub met an error of its own while evaluating.", "Its log says more.")


def _believe(lines: bytes, files: Mapping[str, bytes]) -> Evaluated:
    """Raises `Corrupt` for an output that is not of these files. A suite that breaks its own rules has failed."""
    try:
        suite = read_suite(files)
        items = count_items(suite, files)
    except Invalid as problem:
        return Evaluated((), b"", f"{BROKEN}: {problem.what}")
    return outputs.read(lines, suite, items)
