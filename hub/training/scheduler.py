"""Drives base runs: one loop takes what nodes and the ledger say, one after the other, and tells the nodes what to do.

All facts go through the journal; what is kept in memory can be derived again from the database and from what the agents
repeat when they attach.
"""

from __future__ import annotations

import asyncio
import logging
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
from hub.training.allocation import RETURN, Allocation
from hub.training.attempts import PATIENCE, Attempts
from hub.training.failures import failed
from hub.training.gangs import agents
from hub.training.inbox import Inbox
from hub.training.lending import Lending
from hub.training.messages import (
    copied_of,
    metrics_of,
    model_of,
    note_of,
    prepared_of,
    saved_of,
    skipped_of,
    stop_message,
)
from hub.training.nodes import Attached, Attachments
from hub.training.records import Records
from hub.training.states import Work
from protos.coalition.v1 import training_pb2
from trust.errors import Problem

TICK = 1.0
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
    """`attach` and `detach` are called by the service; `run` lives as long as the hub. `patience` and `wait` in seconds:
    `lost_after` and `wait_for_nodes` of the settings."""

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        journal: Journal,
        progress: Progress,
        patience: float = PATIENCE,
        wait: float = RETURN,
    ) -> None:
        self._records = Records(database=database, blobs=blobs, journal=journal, progress=progress)
        self._journal = journal
        self.attachments = Attachments()
        self.attempts = Attempts(self._records, self.attachments, Allocation(wait), patience)
        self.lending = Lending(self.attachments, self.run_of)
        self._events: Inbox[Event] = Inbox()
        self._next_decision = self._look_again = 0.0
        self._left_out: dict[str, str] = {}  # run -> why it waits for other nodes, as far as that was told

    async def room(self, node: str) -> None:
        """Until a node may go on to speak: before it attaches, and before all that it says."""
        await self._events.room(node)

    def say(self, node: str, message: training_pb2.NodeMessage) -> None:
        if message.WhichOneof("kind") not in (None, "hello", "heartbeat"):
            self._events.put(node, Said(node, message))

    def attach(self, node: Attached) -> None:
        self.attachments.add(node)
        self._events.put(node.name, Came(node))

    def detach(self, node: Attached) -> None:
        self.attachments.remove(node)
        self._look()

    def _look(self) -> None:
        """Look again, when it is the hub's own turn."""
        self._events.put_once("", None)

    def work_on(self, run: str) -> Work | None:
        """The present work on a run, for those who look."""
        return self.attempts.works.get(run)

    def run_of(self, node: str) -> str:
        """The run that a node works on; empty when it is free."""
        return self.attempts.run_of(node)

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._journal.listen(lambda entry: self._heard_ledger(loop, entry))
        await self.attempts.load()
        self.attempts.allocation.remember(await asyncio.to_thread(self._records.usage))
        while True:
            event = None
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):  # not wait_for: Python 3.11's may swallow a cancellation
                    event = await self._events.get()
            await self._handle(event)

    def _heard_ledger(self, loop: asyncio.AbstractEventLoop, entry: Entry) -> None:
        if entry.kind in ("run", "stop", "withdrawal") and not loop.is_closed():
            loop.call_soon_threadsafe(self._look)
        if entry.kind == "withdrawal" and not loop.is_closed():
            loop.call_soon_threadsafe(self._ask_for_reports)

    def _ask_for_reports(self) -> None:
        """What nodes keep of withdrawn data they are told to forget (`hub.training.leftovers`)."""
        for node in self.attachments.all():
            self.attachments.send(node.name, training_pb2.HubMessage(report=training_pb2.Report()))

    async def _handle(self, event: Event) -> None:
        match event:
            case Came(node):
                await self._greet(node)
            case Said(node, message):
                await self._listen(node, message)
                if message.WhichOneof("kind") == "progress" and time.monotonic() < self._look_again:
                    return  # it changes nothing for the other runs, and there are many of them
            case None:
                pass
        self._look_again = time.monotonic() + TICK
        await self.attempts.load()
        for run in list(self.attempts.works):
            await self._minding(run, self._look_after(run))
        await self._fill()

    async def _minding(self, run: str, step: Awaitable[None]) -> None:
        """One run's trouble must not stop the others."""
        try:
            await step
        except Problem as problem:
            _log.error("%s: %s", run, problem.diagnostics())
            if run in self.attempts.works:
                await self.attempts.interrupt(self.attempts.works[run], problem.what)

    # --- what nodes say ----------------------------------------------------------------------------------------------

    async def _greet(self, node: Attached) -> None:
        """A node that still works on the present attempt goes on; one that forgot it has lost it."""
        self.attempts.is_back(node.name)
        node.greeted = True
        hello = node.hello
        work = self.attempts.works.get(self.run_of(node.name))
        if hello.run and (work is None or (work.run, work.attempt) != (hello.run, hello.attempt)):
            over = hello.run not in self.attempts.works
            self.attachments.send(node.name, stop_message(hello.run, hello.attempt, "no longer wanted", over=over))
        expected = work is not None and (work.phase == "training" or node.name == work.nodes[0])
        if work is not None and expected and (work.run, work.attempt) != (hello.run, hello.attempt):
            await self.attempts.interrupt(work, f"{node.name} came back without its work")

    async def _listen(self, node: str, message: training_pb2.NodeMessage) -> None:
        content = getattr(message, str(message.WhichOneof("kind")))
        work = self.attempts.works.get(content.run)
        if work is None or not states.is_current(work, node, content.attempt):
            self.attachments.send(node, stop_message(content.run, content.attempt, "over", over=work is None))
            return
        if message.WhichOneof("kind") == "progress" and node == work.nodes[0]:
            self.attempts.allocation.progressed(work.run, message.progress, time.time())
        try:
            await self._take(work, node, message)
        except Problem as problem:
            now = self.attempts.works.get(work.run, work)  # part of it may have been taken
            await self.attempts.interrupt(now, f"{node} sent something wrong: {problem.what}")

    async def _take(self, work: Work, node: str, message: training_pb2.NodeMessage) -> None:
        """What a node of the gang says of the present attempt. Raises `Invalid`."""
        rank = work.nodes.index(node)
        match message.WhichOneof("kind"):
            case "prepared" if rank == 0:
                await self._prepared(work, message.prepared)
            case "progress" if rank == 0:
                metrics = metrics_of(message.progress, (await self.attempts.spec(work)).training.steps)
                if metrics or message.progress.message:
                    await self.attempts.tell(work.run, "training", note_of(message.progress), metrics)
            case "checkpoint":
                report = saved_of(message.checkpoint, rank, (await self.attempts.spec(work)).training)
                self.attempts.works[work.run] = states.saved(work, rank, message.checkpoint.step, report)
            case "copied":
                await self._copied(work, rank, message.copied)
            case "trained":
                skipped = skipped_of(message.trained.skipped, (await self.attempts.spec(work)).training)
                self.attempts.works[work.run] = states.finished(work, rank, model_of(message.trained, rank), skipped)
            case "failed":
                await failed(self.attempts, self._records, work, node, message.failed)

    async def _copied(self, work: Work, rank: int, message: training_pb2.Copied) -> None:
        """A node's pieces of a copy: with the last the run no longer depends on its nodes. Raises `Invalid`."""
        pieces = copied_of(message, (await self.attempts.spec(work)).training)
        after = states.copied(work, rank, message.step, pieces)
        if after.copies == work.copies:
            self.attempts.works[work.run] = after
            return
        await self.attempts.keep_copy(after, message.step)
        order = self.attempts.orders[work.run]
        if after.world < order.spec.placement.ranks and await self._could_grow(after):
            await self.attempts.stop_for(after, f"stopped to go on with {order.spec.placement.nodes} nodes")

    async def _could_grow(self, work: Work) -> bool:
        """Whether all that a run asked for, which goes on with fewer nodes, are free."""
        works, order = dict(self.attempts.works), self.attempts.orders[work.run]
        return await asyncio.to_thread(self.attempts.allocation.could_grow, work, works, order, self._present())

    async def _prepared(self, work: Work, message: training_pb2.Prepared) -> None:
        if work.phase != "preparing":
            return
        result = prepared_of(message)
        await asyncio.to_thread(self._records.check_prepared, work.run, result)
        work = states.prepared(work, result)
        await self.attempts.keep(work)
        await self.attempts.tell(
            work.run, "training", f"{result.token_count:,} tokens are packed; {work.world} ranks start"
        )
        await self.attempts.start(work)

    # --- what follows ------------------------------------------------------------------------------------------------

    async def _look_after(self, run: str) -> None:
        """Do whatever the present state of a run calls for."""
        work, row = self.attempts.works[run], await asyncio.to_thread(self._records.run, run)
        if row.stop:
            await self.attempts.end(work, "cancelled", row.stop)
        elif model := await asyncio.to_thread(self._records.model_of, run):
            await self.attempts.end(work, "finished", "", model)  # the hub died between the model and the run's end
        elif withdrawn := await asyncio.to_thread(self._records.withdrawn, row):
            await self.attempts.end(work, "cancelled", withdrawn)
        elif states.is_finished(work):
            model = await asyncio.to_thread(self._records.register_model, work, row)
            await self.attempts.end(work, "finished", "", model)
        elif states.is_hopeless(work):
            reason = await asyncio.to_thread(self._records.last_message, run)
            await self.attempts.end(
                work, "failed", f"gave up after {work.failures} failed attempts; the last: {reason}"
            )
        elif work.phase == "queued":
            pass  # until `_fill` finds a gang
        elif lost := self.attempts.lost(work):
            await self.attempts.interrupt(work, f"{lost} is lost")
        elif step := states.complete_checkpoint(work):
            await self.attempts.register_checkpoint(work, step)

    async def _fill(self) -> None:
        """Give nodes to the runs that wait: who gets which, who is to make room, and why a run still waits."""
        self.attempts.allocation.account(self.attempts.works, self.attempts.orders, time.time())
        waiting = self.attempts.waiting()
        self._left_out = {run: why for run, why in self._left_out.items() if run in self.attempts.works}
        if not waiting or time.monotonic() < self._next_decision:
            return
        nodes = self._present()
        began, works = time.monotonic(), dict(self.attempts.works)
        decision, left_out = await asyncio.to_thread(
            self.attempts.allocation.decide, works, waiting, self.attempts.orders, nodes, time.time()
        )
        self._next_decision = time.monotonic() + REST * (time.monotonic() - began)
        for start in decision.starts:
            del left_out[start.job]
            self._left_out.pop(start.job, None)
            chosen = agents(start.nodes)
            if not any(map(self.run_of, chosen)):  # a cluster's agent works on one run at a time, too
                placing = self.attempts.place(self.attempts.works[start.job], chosen, len(start.nodes))
                await self._minding(start.job, placing)
        for wish in decision.yields:
            told = f"makes room for {wish.so_that}, which has a higher priority, after the next checkpoint"
            await self.attempts.tell(wish.job, "training", told)
        for run, why in left_out.items():
            if why and why != self._left_out.get(run):
                self._left_out[run] = why
                await self.attempts.tell(run, "queued", f"waits for other nodes: {why}")

    def _present(self) -> list[Attached]:
        return [node for node in self.attachments.all() if node.greeted and not node.silent()]
