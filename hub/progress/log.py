"""The course of runs and campaigns as events that watchers follow live."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from sqlalchemy import String, cast
from sqlmodel import Session, col, delete, func, select

from hub.database import Database
from hub.progress.tables import ProgressRecord
from hub.progress.thinning import KEPT, Row, extremes, superfluous
from protos.coalition.v1 import common_pb2
from protos.documents.base import now

_PAGE = 500
_RECENT, _EVERY = 1000, 500
"""The newest rows of a course all stay; so many more come before it is thinned again."""
_MOST = KEPT + _RECENT
_IDLE = 15.0  # a watcher looks again after this many seconds even when nobody woke it


class Progress:
    """Appends events and wakes their watchers. `append` may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._appending = threading.Lock()  # one at a time, so that sequence numbers appear in order
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._rows: dict[str, int] = {}  # how many there are of a course that goes on

    def append(
        self,
        subject: str,
        phase: str,
        message: str = "",
        metrics: Sequence[tuple[int, str, float]] = (),
        terminal: bool = False,
    ) -> None:
        """Record one event about a run or campaign; of a long course older ones go (`thinning`). Blocking."""
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
            self._bound(session, subject)
            if terminal:
                del self._rows[subject]
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
        """The metrics of a subject in order, at most `limit` per name, with what stands out (`thinning.extremes`)."""
        measured = cast(col(ProgressRecord.metrics), String) != "[]"
        query = select(ProgressRecord.metrics).where(ProgressRecord.subject == subject, measured)
        with self._database.session() as session:
            rows = session.exec(query.order_by(col(ProgressRecord.sequence).desc()).limit(_MOST + _EVERY)).all()
        series: dict[str, dict[int, float]] = {}
        for metrics in reversed(rows):
            for step, name, value in metrics:
                series.setdefault(name, {})[step] = value
        return [
            common_pb2.Metric(step=step, name=name, value=value)
            for name, points in series.items()
            for step, value in extremes(sorted(points.items()), limit)
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

    def _bound(self, session: Session, subject: str) -> None:
        """Drop what is superfluous once a course has grown long enough."""
        if subject not in self._rows:
            mine = ProgressRecord.subject == subject
            self._rows[subject] = session.exec(select(func.count()).select_from(ProgressRecord).where(mine)).one()
        else:
            self._rows[subject] += 1
        while self._rows[subject] >= _MOST + _EVERY:
            self._rows[subject] -= self._thin(session, subject, self._rows[subject] - _RECENT)

    def _thin(self, session: Session, subject: str, older: int) -> int:
        """Of so many of the oldest rows; answers with how many went."""
        query = select(ProgressRecord.sequence, ProgressRecord.message, ProgressRecord.metrics)
        oldest = query.where(ProgressRecord.subject == subject).order_by(col(ProgressRecord.sequence))
        found = session.exec(oldest.limit(min(older, 2 * KEPT))).all()
        gone = sorted(superfluous([Row(sequence or 0, message, metrics) for sequence, message, metrics in found]))
        for start in range(0, len(gone), _PAGE):
            part = col(ProgressRecord.sequence).in_(gone[start : start + _PAGE])
            session.exec(delete(ProgressRecord).where(part))
        return len(gone)

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
