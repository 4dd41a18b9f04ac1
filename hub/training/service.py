"""gRPC: base runs, and the node agents' conversations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from hub.callers import caller
from hub.database import Database
from hub.ledger.journal import Journal
from hub.members import directory
from hub.progress.log import Progress
from hub.training import leftovers, store
from hub.training.nodes import Attached
from hub.training.projection import PREFIX
from hub.training.scheduler import Scheduler
from hub.training.states import Work, places
from hub.training.tables import CheckpointRow, RunRow
from protos.coalition.v1 import common_pb2, training_pb2, training_pb2_grpc
from protos.documents.base import now
from protos.documents.runs import Run, Stop
from trust.canonical import emit
from trust.errors import Invalid, Problem

MOST_HEALTH = 500  # characters


class TrainingService(training_pb2_grpc.TrainingServicer):
    """Launch, list, show, watch, cancel."""

    def __init__(self, *, database: Database, journal: Journal, progress: Progress, scheduler: Scheduler) -> None:
        self._database, self._journal, self._progress, self._scheduler = database, journal, progress, scheduler

    async def LaunchRun(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._record, request.envelope, caller().id, Run)

    async def CancelRun(self, request: common_pb2.SignedStatement, context: Any) -> common_pb2.Recorded:
        return await asyncio.to_thread(self._record, request.envelope, caller().id, Stop)

    async def ListRuns(self, request: training_pb2.ListRunsRequest, context: Any) -> training_pb2.ListRunsResponse:
        def rows() -> list[training_pb2.Run]:
            with self._database.session() as session:
                return [self._message(row) for row in store.all_runs(session)]

        return training_pb2.ListRunsResponse(runs=await asyncio.to_thread(rows))

    async def GetRun(self, request: common_pb2.ById, context: Any) -> training_pb2.Run:
        return await asyncio.to_thread(self._show, request.id)

    async def WatchRun(self, request: common_pb2.WatchRequest, context: Any) -> AsyncIterator[common_pb2.ProgressEvent]:
        await asyncio.to_thread(self._show, request.id)
        async for event in self._progress.watch(request.id, request.after):
            yield event

    async def ListNodes(self, request: training_pb2.ListNodesRequest, context: Any) -> training_pb2.ListNodesResponse:
        def names() -> list[str]:
            with self._database.session() as session:
                return directory.node_names(session)

        return training_pb2.ListNodesResponse(nodes=[self._node(name) for name in await asyncio.to_thread(names)])

    def _record(self, envelope: bytes, member: str, kind: type[Run] | type[Stop]) -> common_pb2.Recorded:
        claim = self._journal.read(envelope, member).claim
        if not isinstance(claim, kind):
            raise Invalid(f"This call takes a signed {kind.__name__.lower()}.")
        if isinstance(claim, Stop) and not claim.target.startswith(PREFIX):
            raise Invalid(f"{claim.target} is not a run.", field="target")
        entry = self._journal.record(envelope, member)
        return common_pb2.Recorded(id=entry.id, receipt=self._journal.receipt(entry.index))

    def _show(self, run: str) -> training_pb2.Run:
        """Raises `NotFound`."""
        with self._database.session() as session:
            row, checkpoints = store.get(session, run), store.checkpoints(session, run)
            attempt = store.attempt(session, run)
        message = self._message(row)
        message.attempt = attempt.number if attempt else 0
        work = self._scheduler.work_on(run)
        message.checkpoints.extend(_checkpoint(checkpoint, work) for checkpoint in checkpoints)
        message.metrics.extend(self._progress.metrics(run))
        message.told.extend(self._progress.told(run))
        steps = [metric.step for metric in message.metrics]
        message.step = max([*steps, *(checkpoint.step for checkpoint in checkpoints)], default=0)
        return message

    def _message(self, row: RunRow) -> training_pb2.Run:
        work = self._scheduler.work_on(row.id)
        state = row.outcome or (work.phase if work else "queued")
        step = row.spec["training"]["steps"] if row.outcome == "finished" else (work.registered if work else 0)
        return training_pb2.Run(
            id=row.id,
            name=row.name,
            state=state,
            reason=row.reason,
            step=step,
            steps=row.spec["training"]["steps"],
            launched_at=row.launched_at,
            ended_at=row.ended_at,
            model=row.model,
            nodes=list(work.nodes) if work else [],
            attempt=work.attempt if work else 0,
            launched_by=row.launched_by,
            spec=emit(row.spec).decode(),
        )

    def _node(self, name: str) -> training_pb2.Node:
        attached = self._scheduler.attachments.get(name)
        return training_pb2.Node(
            name=name,
            attached=attached is not None,
            inventory=attached.hello.inventory if attached else None,
            run=self._scheduler.run_of(name),
            last_seen=attached.heard_at if attached else "",
        )


class NodesService(training_pb2_grpc.NodesServicer):
    """One long conversation per agent. Who it is says its certificate."""

    def __init__(self, *, database: Database, scheduler: Scheduler) -> None:
        self._database, self._scheduler = database, scheduler

    async def Attach(
        self, request_iterator: AsyncIterator[training_pb2.NodeMessage], context: Any
    ) -> AsyncIterator[training_pb2.HubMessage]:
        name = caller().id
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("kind") != "hello":
            raise Invalid("A node says hello first.")
        await self._scheduler.room(name)
        node = Attached(name, first.hello, heard_at=now())
        self._scheduler.attach(node)
        listening = asyncio.create_task(self._listen(node, request_iterator))
        try:
            while (message := await node.outgoing.get()) is not None:
                yield message
            if listening.done() and not listening.cancelled() and isinstance(ended := listening.exception(), Problem):
                raise ended  # such as the node's revocation
        finally:
            listening.cancel()
            self._scheduler.detach(node)

    async def _listen(self, node: Attached, messages: AsyncIterator[training_pb2.NodeMessage]) -> None:
        try:
            async for message in messages:
                node.heard, node.heard_at = time.monotonic(), now()
                if message.WhichOneof("kind") == "heartbeat":
                    node.hello.inventory.health = message.heartbeat.health[:MOST_HEALTH]
                elif message.WhichOneof("kind") == "evaluated":
                    self._scheduler.lending.answered(node, message.evaluated)
                elif message.WhichOneof("kind") == "kept":
                    await self._tidy(node, message.kept)
                else:
                    node.unheard = True
                    await self._scheduler.room(node.name)
                    node.unheard, node.heard = False, time.monotonic()
                    self._scheduler.say(node.name, message)
        finally:
            node.outgoing.put_nowait(None)

    async def _tidy(self, node: Attached, kept: training_pb2.Kept) -> None:
        def answer() -> training_pb2.Forget:
            with self._database.session() as session:
                return leftovers.useless(session, kept)

        forget = await asyncio.to_thread(answer)
        if forget.digests or forget.runs:
            self._scheduler.attachments.send(node.name, training_pb2.HubMessage(forget=forget))


def _checkpoint(row: CheckpointRow, work: Work | None) -> training_pb2.Checkpoint:
    return training_pb2.Checkpoint(
        step=row.step,
        digest=row.weights,
        loss=row.loss,
        recorded_at=row.recorded_at,
        places=places(work, row.step) if work else 0,
    )
