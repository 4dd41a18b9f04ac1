"""The course of runs and campaigns as events that watchers follow live."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from sqlalchemy import String, cast
from sqlmodel import col, select

from hub.database import Database
from hub.progress.tables import ProgressRecord
from protos.coalition.v1 import common_pb2
from protos.documents.base import now

_PAGE = 500
_IDLE = 15.0  # a watcher looks again after this many seconds even when nobody woke it


class Progress:
    """Appends events and wakes their watchers. `append` may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._appending = threading.Lock()  # one at a time, so that sequence numbers appear in order
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None

    def append(
        self,
        subject: str,
        phase: str,
        message: str = "",
        metrics: Sequence[tuple[int, str, float]] = (),
        terminal: bool = False,
    ) -> None:
        """Record one event about a run or campaign. Blocking."""
        with self._appending, self._database.session() as session:
            session.add(
                ProgressRecord(
                    subject=subject,
                    time=now(),
                    phase=phase,
                    message=message[:2000],
                    metrics=[list(metric) for metric in metrics],
                    terminal=terminal,
                )
            )
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    async def watch(self, subject: str, after: int = 0) -> AsyncIterator[common_pb2.ProgressEvent]:
        """Events after sequence number `after`, past and to come, up to and with the terminal one."""
        while True:
            changed = self._next_change()
            events = await asyncio.to_thread(self._page, subject, after)
            for event in events:
                yield event
                after = event.sequence
                if event.terminal:
                    return
            if not events:
                # not `wait_for`: in Python 3.11 it can swallow a cancellation
                with suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE):
                        await changed.wait()

    def metrics(self, subject: str, limit: int = 500) -> list[common_pb2.Metric]:
        """All metrics of a subject in order, thinned evenly to at most `limit` per name."""
        measured = cast(col(ProgressRecord.metrics), String) != "[]"
        query = select(ProgressRecord.metrics).where(ProgressRecord.subject == subject, measured)
        series: dict[str, dict[int, float]] = {}
        with self._database.session() as session:
            for metrics in session.exec(query.order_by(col(ProgressRecord.sequence))):
                for step, name, value in metrics:
                    series.setdefault(name, {})[step] = value
        return [
            common_pb2.Metric(step=step, name=name, value=value)
            for name, points in series.items()
            for step, value in _thin(sorted(points.items()), limit)
        ]

    def told(self, subject: str, limit: int = 200) -> list[common_pb2.ProgressEvent]:
        """The last events that say something, oldest first, without their metrics."""
        query = select(ProgressRecord).where(ProgressRecord.subject == subject, ProgressRecord.message != "")
        with self._database.session() as session:
            rows = session.exec(query.order_by(col(ProgressRecord.sequence).desc()).limit(limit)).all()
        events = [_event(row) for row in reversed(rows)]
        for event in events:
            del event.metrics[:]
        return events

    def last_message(self, subject: str) -> str:
        """The newest message about a subject; empty when there is none."""
        query = select(ProgressRecord.message).where(ProgressRecord.subject == subject, ProgressRecord.message != "")
        with self._database.session() as session:
            return session.exec(query.order_by(col(ProgressRecord.sequence).desc())).first() or ""

    def _page(self, subject: str, after: int) -> list[common_pb2.ProgressEvent]:
        query = select(ProgressRecord).where(ProgressRecord.subject == subject, col(ProgressRecord.sequence) > after)
        with self._database.session() as session:
            rows = session.exec(query.order_by(col(ProgressRecord.sequence)).limit(_PAGE)).all()
        return [_event(row) for row in rows]

    def _next_change(self) -> asyncio.Event:
        """The event that the next `append` sets; taken before reading, so that nothing is missed."""
        self._loop = asyncio.get_running_loop()
        if self._changed is None or self._changed.is_set():
            self._changed = asyncio.Event()
        return self._changed

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()


def _event(row: ProgressRecord) -> common_pb2.ProgressEvent:
    metrics = [common_pb2.Metric(step=step, name=name, value=value) for step, name, value in row.metrics]
    return common_pb2.ProgressEvent(
        sequence=row.sequence or 0,
        time=row.time,
        phase=row.phase,
        message=row.message,
        metrics=metrics,
        terminal=row.terminal,
    )


def _thin(points: list[tuple[int, float]], limit: int) -> list[tuple[int, float]]:
    stride = max(1, -(-len(points) // limit))
    thinned = points[::stride]
    return thinned if not points or thinned[-1] == points[-1] else [*thinned[:-1], points[-1]]
