"""Drives base runs: one loop takes what nodes and the ledger say, one after the other, and tells the nodes what to do.

All facts go through the journal; what is kept in memory can be derived again from the database and from what the agents
repeat when they attach.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.progress.log import Progress
from hub.training import states
from hub.training.allocation import Allocation, Order
from hub.training.gangs import agents
from hub.training.messages import (
    metrics_of,
    model_of,
    note_of,
    prepare_message,
    prepared_of,
    registered_message,
    saved_of,
    skipped_of,
    stop_message,
    train_message,
)
from hub.training.nodes import Attached, Attachments
from hub.training.records import Records
from hub.training.states import Work
from protos.coalition.v1 import training_pb2
from protos.documents.runs import RunSpec
from trust.errors import Problem

PATIENCE = 15.0  # seconds a working node may be away before its attempt counts as lost
TICK = 1.0
LONGEST_PAUSE = 30.0
REASON = 1000  # characters of what a node may say of a run's end
REST = 4  # times as long as a decision took passes before the next: with thousands of nodes it is not made at every message
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
        self._records = Records(database=database, blobs=blobs, journal=journal, progress=progress)
        self._journal = journal
        self.attachments = Attachments()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._works: dict[str, Work] = {}
        self._away: dict[str, float] = {}  # working node -> when it was missed
        self._orders: dict[str, Order] = {}
        self._allocation, self._next_decision = Allocation(), 0.0
        self._left_out: dict[str, str] = {}  # run -> why its data may not be on a node, as far as that was told
        self._not_before: dict[str, float] = {}  # run -> when its next attempt may begin

    def say(self, node: str, message: training_pb2.NodeMessage) -> None:
        if message.WhichOneof("kind") not in (None, "hello", "heartbeat"):
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
        await self._load()
        while True:
            event = None
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):  # not wait_for: Python 3.11's may swallow a cancellation
                    event = await self._events.get()
            await self._handle(event)

    def _heard_ledger(self, loop: asyncio.AbstractEventLoop, entry: Entry) -> None:
        if entry.kind in ("run", "stop", "withdrawal") and not loop.is_closed():
            loop.call_soon_threadsafe(self._events.put_nowait, None)
        if entry.kind == "withdrawal" and not loop.is_closed():
            loop.call_soon_threadsafe(self._ask_for_reports)

    def _ask_for_reports(self) -> None:
        """What nodes keep of withdrawn data they are told to forget (`hub.training.leftovers`)."""
        for node in self.attachments.all():
            self.attachments.send(node.name, training_pb2.HubMessage(report=training_pb2.Report()))

    async def _load(self) -> None:
        for work in await asyncio.to_thread(self._records.unfinished, list(self._works)):
            self._works[work.run] = work
            self._orders[work.run] = await asyncio.to_thread(self._records.order, work.run)

    async def _handle(self, event: Event) -> None:
        match event:
            case Came(node):
                await self._greet(node)
            case Said(node, message):
                await self._listen(node, message)
            case None:
                pass
        await self._load()
        for run in list(self._works):
            await self._minding(run, self._look_after(run))
        await self._fill()

    async def _minding(self, run: str, step: Awaitable[None]) -> None:
        """One run's trouble must not stop the others."""
        try:
            await step
        except Problem as problem:
            _log.error("%s: %s", run, problem.diagnostics())
            if run in self._works:
                await self._interrupt(self._works[run], problem.what)

    # --- what nodes say ----------------------------------------------------------------------------------------------

    async def _greet(self, node: Attached) -> None:
        """A node that still works on the present attempt goes on; one that forgot it has lost it."""
        self._away.pop(node.name, None)
        node.greeted = True
        hello = node.hello
        work = self._works.get(self.run_of(node.name))
        if hello.run and (work is None or (work.run, work.attempt) != (hello.run, hello.attempt)):
            over = hello.run not in self._works
            self.attachments.send(node.name, stop_message(hello.run, hello.attempt, "no longer wanted", over=over))
        expected = work is not None and (work.phase == "training" or node.name == work.nodes[0])
        if work is not None and expected and (work.run, work.attempt) != (hello.run, hello.attempt):
            await self._interrupt(work, f"{node.name} came back without its work")

    async def _listen(self, node: str, message: training_pb2.NodeMessage) -> None:
        content = getattr(message, str(message.WhichOneof("kind")))
        work = self._works.get(content.run)
        if work is None or not states.is_current(work, node, content.attempt):
            self.attachments.send(node, stop_message(content.run, content.attempt, "over", over=work is None))
            return
        if message.WhichOneof("kind") == "progress" and node == work.nodes[0]:
            self._allocation.progressed(work.run, message.progress, time.time())
        try:
            await self._take(work, node, message)
        except Problem as problem:
            await self._interrupt(work, f"{node} sent something wrong: {problem.what}")

    async def _take(self, work: Work, node: str, message: training_pb2.NodeMessage) -> None:
        """What a node of the gang says of the present attempt. Raises `Invalid`."""
        rank = work.nodes.index(node)
        match message.WhichOneof("kind"):
            case "prepared" if rank == 0:
                await self._prepared(work, message.prepared)
            case "progress" if rank == 0:
                metrics = metrics_of(message.progress, (await self._spec(work)).training.steps)
                if metrics or message.progress.message:
                    await self._tell(work.run, "training", note_of(message.progress), metrics)
            case "checkpoint":
                report = saved_of(message.checkpoint, rank, (await self._spec(work)).training)
                self._works[work.run] = states.saved(work, rank, message.checkpoint.step, report)
            case "trained":
                skipped = skipped_of(message.trained.skipped, (await self._spec(work)).training)
                self._works[work.run] = states.finished(work, rank, model_of(message.trained, rank), skipped)
            case "failed" if message.failed.refused and work.phase == "preparing" and rank == 0:
                await self._end(work, "failed", message.failed.reason[:REASON])
            case "failed":
                if message.failed.shards_lost:
                    lost, held = work.registered, message.failed.held
                    work = states.shards_lost(work, await asyncio.to_thread(self._records.earlier, work, held))
                    await self._tell(work.run, "queued", f"{node} has lost its shard{_further(lost, work.registered)}")
                await self._interrupt(work, f"{node}: {message.failed.reason}")

    async def _prepared(self, work: Work, message: training_pb2.Prepared) -> None:
        if work.phase != "preparing":
            return
        result = prepared_of(message)
        await asyncio.to_thread(self._records.check_prepared, work.run, result)
        work = states.prepared(work, result)
        await self._keep(work)
        await self._tell(work.run, "training", f"{result.token_count:,} tokens are packed; {work.world} ranks start")
        await self._start(work)

    # --- what follows ------------------------------------------------------------------------------------------------

    async def _look_after(self, run: str) -> None:
        """Do whatever the present state of a run calls for."""
        work, row = self._works[run], await asyncio.to_thread(self._records.run, run)
        if row.stop:
            await self._end(work, "cancelled", row.stop)
        elif model := await asyncio.to_thread(self._records.model_of, run):
            await self._end(work, "finished", "", model)  # the hub died between the model and the run's end
        elif withdrawn := await asyncio.to_thread(self._records.withdrawn, row):
            await self._end(work, "cancelled", withdrawn)
        elif states.is_finished(work):
            model = await asyncio.to_thread(self._records.register_model, work, row)
            await self._end(work, "finished", "", model)
        elif states.is_hopeless(work):
            reason = await asyncio.to_thread(self._records.last_message, run)
            await self._end(work, "failed", f"gave up after {work.failures} failed attempts; the last: {reason}")
        elif work.phase == "queued":
            pass  # until `_fill` finds a gang
        elif lost := self._lost(work):
            await self._interrupt(work, f"{lost} is lost")
        elif step := states.complete_checkpoint(work):
            await self._register_checkpoint(work, step)

    async def _fill(self) -> None:
        """Give nodes to the runs that wait: who gets which, who is to make room, and why a run still waits."""
        self._allocation.account(self._works, self._orders, time.time())
        queued = [run for run, work in self._works.items() if work.phase == "queued"]
        waiting = [run for run in queued if time.monotonic() >= self._not_before.get(run, 0.0)]
        if not waiting or time.monotonic() < self._next_decision:
            return
        nodes = [node for node in self.attachments.all() if node.greeted and not node.silent()]
        began, works = time.monotonic(), dict(self._works)
        decision, left_out = await asyncio.to_thread(
            self._allocation.decide, works, waiting, self._orders, nodes, time.time()
        )
        self._next_decision = time.monotonic() + REST * (time.monotonic() - began)
        for start in decision.starts:
            del left_out[start.job]
            chosen = agents(start.nodes)
            if not any(map(self.run_of, chosen)):  # a cluster's agent works on one run at a time, too
                await self._minding(start.job, self._place(self._works[start.job], chosen))
        for wish in decision.yields:
            told = f"makes room for {wish.so_that}, which has a higher priority, after the next checkpoint"
            await self._tell(wish.job, "training", told)
        for run, why in left_out.items():
            if why and why != self._left_out.get(run):
                self._left_out[run] = why
                await self._tell(run, "queued", f"waits for other nodes: {why}")

    async def _place(self, work: Work, nodes: tuple[str, ...]) -> None:
        placed = f"attempt {work.attempt + 1} on {', '.join(nodes)}"
        if work.registered:
            resumes = nodes == work.registered_on
            placed += f" from step {work.registered}" if resumes else "; the shards are elsewhere, so it starts over"
        work = states.place(work, nodes)
        await self._keep(work)
        await self._tell(work.run, work.phase, placed)
        await self._start(work)

    async def _start(self, work: Work) -> None:
        row = await asyncio.to_thread(self._records.run, work.run)
        if work.phase == "preparing":
            inputs = await asyncio.to_thread(self._records.inputs, row)
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
            self._away.pop(node, None)
        self._allocation.ended(work.run)
        await self._keep(states.interrupted(work))
        self._not_before[work.run] = time.monotonic() + min(2**work.failures, LONGEST_PAUSE)
        await self._tell(work.run, "queued", f"attempt {work.attempt} was interrupted: {reason}")

    async def _register_checkpoint(self, work: Work, step: int) -> None:
        loss = await asyncio.to_thread(self._records.register_checkpoint, work, step)
        await self._keep(states.registered(work, step, work.nodes))
        for node in work.nodes:
            self.attachments.send(node, registered_message(work.run, step))
        await self._tell(work.run, "training", f"checkpoint of step {step} registered, loss {loss:.3f}")
        other = self._works.get(self._allocation.yields_for(work.run))
        if other is not None and other.phase == "queued":
            await self._yield(self._works[work.run], other.run)

    async def _yield(self, work: Work, other: str) -> None:
        """At a checkpoint: nothing is lost, and it counts as no failure."""
        reason = f"made room for {other}"
        for node in work.nodes:
            self.attachments.send(node, stop_message(work.run, work.attempt, reason))
        self._allocation.has_yielded(work.run, time.time())
        await self._keep(states.yielded(work))
        await self._tell(
            work.run, "queued", f"{reason} at step {work.registered}; goes on from there when its nodes are free"
        )

    async def _end(self, work: Work, outcome: str, reason: str, model: str = "") -> None:
        await asyncio.to_thread(self._records.end, work.run, outcome, reason, model)
        for node in self.attachments.all():
            self.attachments.send(node.name, stop_message(work.run, work.attempt, outcome, over=True))
        del self._works[work.run], self._orders[work.run]
        self._allocation.forget(work.run)

    async def _spec(self, work: Work) -> RunSpec:
        return RunSpec.read((await asyncio.to_thread(self._records.run, work.run)).spec)

    async def _keep(self, work: Work) -> None:
        self._works[work.run] = work
        await asyncio.to_thread(self._records.keep, work)

    async def _tell(
        self, run: str, phase: str, message: str, metrics: list[tuple[int, str, float]] | None = None
    ) -> None:
        await asyncio.to_thread(self._records.tell, run, phase, message, metrics)


def _further(lost: int, step: int) -> str:
    return f" of step {lost}: training goes back to step {step}" if step else "s: training starts over"
