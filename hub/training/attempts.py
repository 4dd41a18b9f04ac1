"""What is done to the runs that have not ended: an attempt begins, is interrupted, makes room, ends.

Every act is written down first, then ordered from the nodes, then told to those who watch.
"""

from __future__ import annotations

import asyncio
import random
import time

from hub.training import states
from hub.training.allocation import Allocation, Order
from hub.training.messages import prepare_message, registered_message, stop_message, train_message
from hub.training.nodes import Attachments
from hub.training.records import Records
from hub.training.states import Work
from protos.documents.runs import RunSpec

PATIENCE = 15.0
"""Seconds a working node may be away or silent before its attempt counts as lost, unless the hub says otherwise."""
LONGEST_PAUSE = 30.0


class Attempts:
    """The present work on every run, in memory as in the database."""

    def __init__(
        self, records: Records, attachments: Attachments, allocation: Allocation, patience: float = PATIENCE
    ) -> None:
        self._records, self._attachments, self._patience = records, attachments, patience
        self.works: dict[str, Work] = {}
        self.orders: dict[str, Order] = {}
        self.allocation = allocation
        self._away: dict[str, float] = {}  # working node -> when it was missed
        self._not_before: dict[str, float] = {}  # run -> when its next attempt may begin

    async def load(self) -> None:
        """Take up what was launched since, and what a hub before this one has left."""
        for work in await asyncio.to_thread(self._records.unfinished, list(self.works)):
            self.works[work.run] = work
            self.orders[work.run] = await asyncio.to_thread(self._records.order, work.run)

    def run_of(self, node: str) -> str:
        """The run that a node works on; empty when it is free."""
        return next((work.run for work in self.works.values() if node in work.nodes), "")

    def waiting(self) -> list[str]:
        """The runs that want a gang now."""
        queued = [run for run, work in self.works.items() if work.phase == "queued"]
        return [run for run in queued if time.monotonic() >= self._not_before.get(run, 0.0)]

    def is_back(self, node: str) -> None:
        """A node attached, or has no work any more: it is not missed."""
        self._away.pop(node, None)

    def lost(self, work: Work) -> str:
        """The first node of the gang that has been away or silent for too long."""
        for name in work.nodes if work.phase == "training" else work.nodes[:1]:
            node = self._attachments.get(name)
            if node is not None and not node.silent():
                self._away.pop(name, None)
            elif time.monotonic() - self._away.setdefault(name, time.monotonic()) > self._patience:
                return name
        return ""

    async def place(self, work: Work, nodes: tuple[str, ...], machines: int) -> None:
        """The next attempt begins, on these nodes in the order of their ranks; `machines` are behind them."""
        had, placement = work.registered, (await self.spec(work)).placement
        work = states.place(work, nodes, machines * placement.ranks_per_node)
        placed = f"attempt {work.attempt} on {', '.join(work.nodes)}"
        if work.registered:
            placed += f" from step {work.registered}{' as it was copied' if states.begins_with(work) else ''}"
        elif had:
            placed += "; the shards are elsewhere, so it starts over"
        if machines < placement.nodes:
            placed += f"; ranks: {work.world} instead of {placement.ranks}, each with more of a batch"
        await self.keep(work)
        await self.tell(work.run, work.phase, placed)
        await self.start(work)

    async def start(self, work: Work) -> None:
        """Order what the attempt's phase calls for."""
        row = await asyncio.to_thread(self._records.run, work.run)
        if work.phase == "preparing":
            inputs = await asyncio.to_thread(self._records.inputs, row)
            self._attachments.send(work.nodes[0], prepare_message(work, row.spec, inputs))
            return
        whole = RunSpec.read(row.spec)
        spec = whole.on(work.world // whole.placement.ranks_per_node).model_dump(mode="json")
        first = self._attachments.get(work.nodes[0])
        host = (first.hello.inventory.host if first else "") or "127.0.0.1"
        port = random.randint(20_000, 32_000)  # noqa: S311  (a rendezvous port; a taken one costs an attempt)
        for node in work.nodes:
            self._attachments.send(node, train_message(work, spec, node, host, port))

    async def interrupt(self, work: Work, reason: str, *, blamed: bool = True) -> None:
        """The attempt is lost; the next may begin after a while, the longer the more were lost. One that ends with a word that
        is still to be confirmed is not `blamed` on the run: it counts as no failure."""
        self._dismiss(work, reason)
        await self.keep(states.interrupted(work) if blamed else states.yielded(work))
        self._not_before[work.run] = time.monotonic() + min(2**work.failures, LONGEST_PAUSE)
        await self.tell(work.run, "queued", f"attempt {work.attempt} was interrupted: {reason}")

    def _dismiss(self, work: Work, reason: str) -> None:
        """An attempt's nodes stop."""
        for node in work.nodes:
            self._attachments.send(node, stop_message(work.run, work.attempt, reason))
            self.is_back(node)
        self.allocation.ended(work.run)

    async def register_checkpoint(self, work: Work, step: int) -> None:
        """Of a step that all nodes have reported. There the run makes room where it was asked to. Raises `Invalid`."""
        loss = await asyncio.to_thread(self._records.register_checkpoint, work, step)
        await self.keep(states.registered(work, step, work.nodes))
        for node in work.nodes:
            self._attachments.send(node, registered_message(work.run, step))
        parts = f", {len(work.nodes)} nodes hold its parts" if len(work.nodes) > 1 else ""
        await self.tell(work.run, "training", f"checkpoint of step {step} registered, loss {loss:.3f}{parts}")
        other = self.works.get(self.allocation.yields_for(work.run))
        if other is not None and other.phase == "queued":
            await self._make_room(self.works[work.run], other.run)

    async def _make_room(self, work: Work, other: str) -> None:
        """At a checkpoint: nothing is lost, and it counts as no failure."""
        self.allocation.has_yielded(work.run, time.time())
        rest = f" at step {work.registered}; goes on from there when its nodes are free"
        await self.stop_for(work, f"made room for {other}", rest)

    async def stop_for(self, work: Work, reason: str, rest: str = "") -> None:
        """The attempt ends at a checkpoint, so that a better one can begin; `rest` is told to those who watch alone."""
        self._dismiss(work, reason)
        await self.keep(states.yielded(work))
        await self.tell(work.run, "queued", reason + rest)

    async def keep_copy(self, work: Work, step: int) -> None:
        """The state of `step` is in the hub's store, whole. Raises `Invalid` where a piece of it is not."""
        await asyncio.to_thread(self._records.check_blobs, work.copies[0].pieces)
        await self.keep(work)
        places = states.places(work, step)
        told = f"checkpoint of step {step} is copied to the hub: any nodes can go on from it, it lies in {places}"
        await self.tell(work.run, "training", f"{told} {'place' if places == 1 else 'places'}")

    async def end(self, work: Work, outcome: str, reason: str, model: str = "") -> None:
        """The run is over, for every node that keeps anything of it."""
        await asyncio.to_thread(self._records.end, work.run, outcome, reason, model)
        for node in self._attachments.all():
            self._attachments.send(node.name, stop_message(work.run, work.attempt, outcome, over=True))
        del self.works[work.run], self.orders[work.run]
        self._not_before.pop(work.run, None)
        self.allocation.forget(work.run)
        for name in work.nodes:
            self.is_back(name)

    async def spec(self, work: Work) -> RunSpec:
        """What was launched."""
        return RunSpec.read((await asyncio.to_thread(self._records.run, work.run)).spec)

    async def keep(self, work: Work) -> None:
        """As it is now, also for a hub after this one."""
        self.works[work.run] = work
        await asyncio.to_thread(self._records.keep, work)

    async def tell(
        self, run: str, phase: str, message: str, metrics: list[tuple[int, str, float]] | None = None
    ) -> None:
        """Those who watch the run."""
        await asyncio.to_thread(self._records.tell, run, phase, message, metrics)
