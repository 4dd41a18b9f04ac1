"""Evaluates every model with every suite: derives what is missing from the database, and records what comes out.

Nodes do what may leave the hub while there are any (`errands`); the rest, or everything, is done here.
"""

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
from hub.evaluation import store
from hub.evaluation.errands import Errands, Nobody, Nodes
from hub.evaluation.outputs import Evaluated, believe
from hub.evaluation.process import Unsafe, WorkerLost, WorkerProcess, sandbox_of
from hub.evaluation.reasons import CUT_SHORT, hopeless, told
from hub.evaluation.recording import Recorder
from hub.evaluation.turns import Pair, Suite, Turns
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.models import registry
from hub.models.registry import ModelRow
from hub.settings import Settings
from trust.digests import Digest
from trust.errors import Corrupt, Problem, Unavailable

TRIES = 3
SUITE_SECONDS = 3600
IDLE = 60.0
_log = logging.getLogger(__name__)


class Evaluator:
    """`run` lives as long as the hub; `current` is the pair that is being worked on, `troubles` says what holds others up."""

    def __init__(
        self, *, settings: Settings, database: Database, blobs: BlobStore, journal: Journal, nodes: Nodes | None = None
    ) -> None:
        self._database, self._blobs, self._journal = database, blobs, journal
        self._recorder = Recorder(database=database, blobs=blobs, journal=journal)
        self._sandbox = sandbox_of(settings)
        self._worker = WorkerProcess(self._sandbox)
        self._seconds = SUITE_SECONDS
        self._turns = Turns()
        self._ready = ""  # the model that is laid out
        self._news = asyncio.Event()
        self._errands = Errands(nodes or Nobody(), self._recorder, SUITE_SECONDS, self._news.set)
        self.current: tuple[str, str] | None = None
        self.troubles: dict[tuple[str, str], str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._journal.listen(lambda entry: self._heard(loop, entry))
        self._clear()
        loops = [asyncio.create_task(self._work()), asyncio.create_task(self._errands.run(self._not_here))]
        try:
            await asyncio.gather(*loops)
        finally:
            for each in loops:
                each.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._errands.stop()
            await self._worker.stop()
            self.current = None
            self._clear()

    async def _work(self) -> None:
        """What the hub does itself."""
        while True:
            self._news.clear()
            if not await self._pass():
                await self._wait()

    async def _pass(self) -> bool:
        """Work on what waits, authors in turn; True when there are news before it is done."""
        waiting = await asyncio.to_thread(self._waiting)
        while (waiting := self._errands.own(waiting)) and not self._news.is_set():
            pair = self._turns.take(waiting, self._ready)
            self.current = (pair[0].id, pair[1].id)
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
            loop.call_soon_threadsafe(self._errands.heard)

    def is_running(self, model: str, suite: str) -> bool:
        """Here, or at a node."""
        return self.current == (model, suite) or self._errands.has(model, suite)

    def _not_here(self) -> list[Pair]:
        """What nodes may take."""
        return [pair for pair in self._waiting() if (pair[0].id, pair[1].id) != self.current]

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE):
                await self._news.wait()

    def _waiting(self) -> list[Pair]:
        with self._database.session() as session:
            return [(model, suite) for model, suites in store.waiting(session) for suite in suites]

    async def _pair(self, model: ModelRow, suite: Suite) -> None:
        """One model by one suite. Raises what holds up every suite of the model."""
        await self._worker.start()
        harness = self._worker.harness
        evaluated = await asyncio.to_thread(self._recorder.done_before, model, suite, harness)
        evaluated = evaluated or await self._computed(model, suite)
        if evaluated:
            await asyncio.to_thread(self._recorder.record, model, suite, evaluated, harness)
            self.troubles.pop((model.id, suite.id), None)

    async def _computed(self, model: ModelRow, suite: Suite) -> Evaluated | None:
        """None for a suite that cannot be read now."""
        folder = await asyncio.to_thread(self._lay_out, model)
        try:
            files = await asyncio.to_thread(self._recorder.read, suite)
        except (Problem, OSError) as error:
            self._hold_up([(model, suite)], error)
            return None
        return await self._ask(model, folder, suite, files)

    async def _ask(self, model: ModelRow, folder: Path, suite: Suite, files: Mapping[str, bytes]) -> Evaluated:
        """What the sandbox makes of it. Where it is cut short it is tried again, up to `TRIES` times within its one hour."""
        name, began, why = store.reference(suite), time.monotonic(), ""
        for attempt in range(1, TRIES + 1):
            left = self._seconds - int(time.monotonic() - began)
            try:
                output = await self._worker.ask(model.id, folder, suite.id, name, files, max(0, left))
                if not output.why:
                    found = await asyncio.to_thread(believe, output.lines, files)
                    return replace(found, seconds=output.seconds)
                why = output.why if hopeless(output.why) else f"{CUT_SHORT}: {output.why}."
            except (WorkerLost, Corrupt) as lost:
                why = f"{CUT_SHORT}: {lost}"
            _log.warning("evaluating %s by %s, try %d: %s", model.id, suite.id, attempt, told(why, suite.visibility))
            if hopeless(why):
                break
        return Evaluated((), b"", why, time.monotonic() - began)

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
