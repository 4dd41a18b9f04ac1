"""Submissions that were opened and never committed: dropped with what came of them, which returns their reservation."""

from __future__ import annotations

import asyncio
import datetime as dt

from sqlmodel import col, delete, select

from hub.blobs import BlobStore
from hub.database import Database
from hub.submissions.tables import DraftRow, FindingRow, UploadedRow

PAUSE = 600.0
"""Seconds between two looks."""


def drop_stale(database: Database, blobs: BlobStore, before: dt.datetime) -> list[str]:
    """Drop drafts that were opened before a moment (UTC) and of which nothing came since; their identifiers.

    Whole files stay until they are purged as blobs: another submission may have shown the same ones.
    """
    moment = before.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    query = select(DraftRow.id).where(DraftRow.opened_at < moment, col(DraftRow.state).in_(("open", "rejected")))
    with database.session() as session:
        found = list(session.exec(query))
    stale = [draft for draft in found if blobs.last_partial(draft) < before.timestamp()]
    for draft in stale:
        with database.session(writing=True) as session:
            for row in (FindingRow, UploadedRow):
                session.exec(delete(row).where(col(row.submission) == draft))
            session.exec(delete(DraftRow).where(col(DraftRow.id) == draft))
        blobs.forget_partials(draft)
    return stale


class Sweeper:
    """The loop that drops what is older than `days`."""

    def __init__(self, database: Database, blobs: BlobStore, days: float) -> None:
        self._database, self._blobs, self._age = database, blobs, dt.timedelta(days=days)

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(drop_stale, self._database, self._blobs, dt.datetime.now(dt.UTC) - self._age)
            await asyncio.sleep(PAUSE)
