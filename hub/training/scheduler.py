"""Drives base runs: one loop takes what nodes and the ledger say, one after the other, and tells the nodes what to do.

All facts go through the journal; what is kept in memory can be derived again from the database and from what the agents
repeat when they attach.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TypeAlias

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.journal import Entry, Journal
from hub.models import registry
from hub.models.weights import parameter_count
from hub.progress.log import Progress
from hub.submissions import catalogue
from hub.training import states, store
from hub.training.messages import file_entries, prepare_message, prepared_of, saved_of, stop_message, train_message
from hub.training.nodes import Attached, Attachments
from hub.training.registration import checkpoint_claim, model_claim, run_end_claim
from hub.training.states import Work
from hub.training.tables import RunRow
from protos.coalition.v1 import training_pb2
from protos.documents.runs import RunSpec
from protos.documents.submissions import DatasetFile
from trust.digests import Digest
from trust.errors import Problem

PATIENCE = 20.0  # seconds a working node may be away before its attempt counts as lost
RETURN = 60.0  # seconds to wait for the nodes that hold a checkpoint's shards before starting over elsewhere
TICK = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """A node's message."""

    node: str
    message: training_pb2.NodeMessage


@dataclass(frozen=True)
class Came:
    """A node attached."""

    node: Attached


Event: TypeAlias = Said | Came | None  # None: look again


class Scheduler:
    """`attach` and `detach` are called by the service; `run` lives as long as the hub."""

    def __init__(self, *, database: Database, blobs: BlobStore, journal: Journal, progress: Progress) -> None:
        self._database, self._blobs, self._journal, self._progress = database, blobs, journal, progress
        self.attachments = Attachments()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._works: dict[str, Work] = {}
        self._away: dict[str, float] = {}  # working node -> when it was missed
        self._waiting_since: dict[str, float] = {}
        self._not_before: dict[str, float] = {}  # run -> when its next attempt may begin

    def say(self, node: str, message: training_pb2.NodeMessage) -> None:
        self._events.put_nowait(Said(node, message))

    def attach(self, node: Attached) -> None:
        self.attachments.add(node)
        self._events.put_nowait(Came(node))

    def detach(self, node: Attached) -> None:
        self.attachments.remove(node)
        self._events.put_nowait(None)

    def work_on(self, run: str) -> Work | None:
        """The present work on a run, for those who look."""
        return self._works.get(run)

    def run_of(self, node: str) -> str:
        """The run that a node works on; empty when it is free."""
        return next((work.run for work in self._works.values() if node in work.nodes), "")

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._journal.listen(lambda entry: self._heard_ledger(loop, entry))
        await asyncio.to_thread(self._load)
        while True:
            try:
                event = await asyncio.wait_for(self._events.get(), TICK)
            except TimeoutError:
                event = None
            try:
                await self._handle(event)
            except Problem as problem:
                _log.error("scheduling: %s", problem.diagnostics())

    def _heard_ledger(self, loop: asyncio.AbstractEventLoop, entry: Entry) -> None:
        if entry.kind in ("run", "stop") and not loop.is_closed():
            loop.call_soon_threadsafe(self._events.put_nowait, None)

    def _load(self) -> None:
        with self._database.session() as session:
            for row in store.unfinished(session):
                self._works.setdefault(row.id, store.load_work(session, row.id))

    async def _handle(self, event: Event) -> None:
        match event:
            case Came(node):
                await self._greet(node)
            case Said(node, message):
                await self._listen(node, message)
            case None:
                pass
        await asyncio.to_thread(self._load)
        for run in list(self._works):
            await self._look_after(run)

    # --- what nodes say ----------------------------------------------------------------------------------------------

    async def _greet(self, node: Attached) -> None:
        """A node that still works on the present attempt goes on; one that forgot it has lost it."""
        self._away.pop(node.name, None)
        hello = node.hello
        work = self._works.get(self.run_of(node.name))
        if hello.run and (work is None or (work.run, work.attempt) != (hello.run, hello.attempt)):
            self.attachments.send(node.name, stop_message(hello.run, hello.attempt, "no longer wanted"))
        expected = work is not None and (work.phase == "training" or node.name == work.nodes[0])
        if work is not None and expected and (work.run, work.attempt) != (hello.run, hello.attempt):
            await self._interrupt(work, f"{node.name} came back without its work")

    async def _listen(self, node: str, message: training_pb2.NodeMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind in (None, "hello", "heartbeat"):
            return
        content = getattr(message, kind)
        work = self._works.get(content.run)
        if work is None or not states.is_current(work, node, content.attempt):
            self.attachments.send(node, stop_message(content.run, content.attempt, "over"))
            return
        rank = work.nodes.index(node)
        match kind:
            case "prepared" if rank == 0:
                await self._prepared(work, message.prepared)
            case "progress" if rank == 0:
                metrics = [(metric.step, metric.name, metric.value) for metric in message.progress.metrics]
                await asyncio.to_thread(self._progress.append, work.run, "training", "", metrics)
            case "checkpoint":
                report = saved_of(message.checkpoint, rank)
                self._works[work.run] = states.saved(work, rank, message.checkpoint.step, report)
            case "trained":
                files = file_entries(message.trained.model) if rank == 0 else ()
                self._works[work.run] = states.finished(work, rank, files)
            case "failed":
                await self._interrupt(work, f"{node}: {message.failed.reason}")

    async def _prepared(self, work: Work, message: training_pb2.Prepared) -> None:
        if work.phase != "preparing":
            return
        result = prepared_of(message)
        work = states.prepared(work, result)
        await self._keep(work)
        await self._tell(work.run, "training", f"{result.token_count:,} tokens are packed; {work.world} ranks start")
        await self._start(work)

    # --- what follows ------------------------------------------------------------------------------------------------

    async def _look_after(self, run: str) -> None:
        """Do whatever the present state of a run calls for."""
        work, row = self._works[run], await asyncio.to_thread(self._row, run)
        if row.stop:
            await self._end(work, "cancelled", row.stop)
        elif models := await asyncio.to_thread(self._models, run):
            await self._end(work, "finished", "", models[0])  # the hub died between the model and the run's end
        elif states.is_finished(work):
            await self._register_model(work, row)
        elif work.phase == "queued":
            await self._place(work, row)
        elif lost := self._lost(work):
            await self._interrupt(work, f"{lost} is lost")
        elif step := states.complete_checkpoint(work):
            await self._register_checkpoint(work, step)

    async def _place(self, work: Work, row: RunRow) -> None:
        if states.is_hopeless(work):
            reason = await asyncio.to_thread(self._last_words, work.run)
            await self._end(work, "failed", f"gave up after {work.failures} failed attempts; the last: {reason}")
            return
        if time.monotonic() < self._not_before.get(work.run, 0.0):
            return
        count = RunSpec.read(row.spec).placement.nodes
        free = sorted(node.name for node in self.attachments.all() if not self.run_of(node.name))
        nodes = states.gang(work, count, free)
        if not nodes or self._waits_for_shards(work, nodes):
            self._waiting_since.setdefault(work.run, time.monotonic())
            return
        self._waiting_since.pop(work.run, None)
        work = states.place(work, nodes)
        await self._keep(work)
        placed = f"attempt {work.attempt} on {', '.join(nodes)}"
        if work.registered and not work.resume_step:
            placed += f"; the shards of step {work.registered} are elsewhere, so it starts over"
        await self._tell(work.run, work.phase, placed)
        await self._start(work)

    def _waits_for_shards(self, work: Work, nodes: tuple[str, ...]) -> bool:
        since = self._waiting_since.setdefault(work.run, time.monotonic())
        return bool(work.registered) and nodes != work.registered_on and time.monotonic() - since < RETURN

    async def _start(self, work: Work) -> None:
        row = await asyncio.to_thread(self._row, work.run)
        if work.phase == "preparing":
            inputs = await asyncio.to_thread(self._inputs, row)
            self.attachments.send(work.nodes[0], prepare_message(work, row.spec, inputs))
            return
        first = self.attachments.get(work.nodes[0])
        host = (first.hello.inventory.host if first else "") or "127.0.0.1"
        port = random.randint(20_000, 32_000)  # noqa: S311  (a rendezvous port; a taken one costs an attempt)
        for node in work.nodes:
            self.attachments.send(node, train_message(work, row.spec, node, host, port))

    def _lost(self, work: Work) -> str:
        """The first node of the gang that has been away or silent for too long."""
        for name in work.nodes if work.phase == "training" else work.nodes[:1]:
            node = self.attachments.get(name)
            if node is not None and not node.silent():
                self._away.pop(name, None)
            elif time.monotonic() - self._away.setdefault(name, time.monotonic()) > PATIENCE:
                return name
        return ""

    async def _interrupt(self, work: Work, reason: str) -> None:
        for node in work.nodes:
            self.attachments.send(node, stop_message(work.run, work.attempt, reason))
        for node in work.nodes:
            self._away.pop(node, None)
        await self._keep(states.interrupted(work))
        self._not_before[work.run] = time.monotonic() + min(2**work.failures, 30)
        await self._tell(work.run, "queued", f"attempt {work.attempt} was interrupted: {reason}")

    async def _register_checkpoint(self, work: Work, step: int) -> None:
        claim = checkpoint_claim(self._journal.origin, work, step)
        await asyncio.to_thread(self._journal.sign_and_record, claim)
        await self._keep(states.registered(work, step, work.nodes))
        await self._tell(work.run, "training", f"checkpoint of step {step} registered, loss {claim.loss:.3f}")

    async def _register_model(self, work: Work, row: RunRow) -> None:
        def record() -> str:
            with self._database.session() as session:
                model = registry.next_base_id(session, row.name)
                used = catalogue.datasets(session, RunSpec.read(row.spec).data.datasets)
            weights = [self._blobs.path(Digest(f.digest)) for f in work.model if f.path.endswith(".safetensors")]
            claim = model_claim(self._journal.origin, model, parameter_count(weights), work, row, used)
            return self._journal.sign_and_record(claim).id

        model = await asyncio.to_thread(record)
        await self._end(work, "finished", "", model)

    async def _end(self, work: Work, outcome: str, reason: str, model: str = "") -> None:
        claim = run_end_claim(self._journal.origin, work.run, outcome, reason, model)
        await asyncio.to_thread(self._journal.sign_and_record, claim)
        for node in work.nodes:
            self.attachments.send(node, stop_message(work.run, work.attempt, outcome))
        del self._works[work.run]
        message = f"model {model} is registered" if model else reason
        await asyncio.to_thread(self._progress.append, work.run, outcome, message, (), True)

    # --- the database ------------------------------------------------------------------------------------------------

    async def _keep(self, work: Work) -> None:
        def save() -> None:
            with self._database.session(writing=True) as session:
                store.save_work(session, work)

        self._works[work.run] = work
        await asyncio.to_thread(save)

    async def _tell(self, run: str, phase: str, message: str) -> None:
        _log.info("%s: %s", run, message)
        await asyncio.to_thread(self._progress.append, run, phase, message)

    def _row(self, run: str) -> RunRow:
        with self._database.session() as session:
            return store.get(session, run)

    def _models(self, run: str) -> list[str]:
        with self._database.session() as session:
            return [model.id for model in registry.from_source(session, run)]

    def _inputs(self, row: RunRow) -> list[catalogue.Accepted[DatasetFile]]:
        with self._database.session() as session:
            return catalogue.datasets(session, RunSpec.read(row.spec).data.datasets)

    def _last_words(self, run: str) -> str:
        return self._progress.last_message(run)
