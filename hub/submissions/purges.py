"""What is withdrawn is purged: first a statement of the hub says so, then the blobs are deleted.

A withdrawal is ripe once it is final and its grace is over. Of a ripe submission those blobs are due that nothing needs but
ripe submissions. Both steps are derived from the ledger each time, so a crash between them costs nothing, and what comes
back (from a backup, say) is deleted again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from hub.database import Database
from hub.disposal import Disposal
from hub.ledger import grants
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.submissions.examination import Examination
from hub.submissions.tables import SubmissionRow
from hub.witnesses.finality import Finality
from protos.documents.base import rfc3339
from protos.documents.statements import HUB
from protos.documents.submissions import Purge
from trust.digests import Digest
from trust.errors import Problem

PAUSE = 60.0
"""Seconds between two looks; a withdrawal that is heard of is looked at at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Due:
    """Of a withdrawn submission: blobs to purge, `size` bytes of them, and how many are needed by others."""

    submission: str
    blobs: tuple[Digest, ...]
    size: int
    needed: int


@dataclass
class Purged:
    """What a look did, or would do: `recorded` as statements; blobs `deleted`, and `waiting` because an open submission counts on
    them, or somebody relied on them within the hour. `later` are withdrawn submissions whose grace goes on, or that are not
    final."""

    recorded: list[Due] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    deleted: list[Digest] = field(default_factory=list)
    waiting: list[Digest] = field(default_factory=list)


def due(session: Session, final: int, before: str) -> list[Due]:
    """What is to be purged of submissions whose withdrawal is among the first `final` entries, recorded before a moment."""
    rows = [row for row in _withdrawn(session) if _is_ripe(row, final, before)]
    ripe = {row.id for row in rows}
    found, taken = [], set[Digest]()
    for row in rows:
        held = grants.held_for(session, row.id)
        blobs = [digest for digest in held if digest not in taken and _only(grants.grounds(session, digest), ripe)]
        if blobs:
            taken.update(blobs)
            found.append(Due(row.id, tuple(blobs), _size(row, blobs), len(held) - len(blobs)))
    return found


def unripe(session: Session, final: int, before: str) -> list[str]:
    """Withdrawn submissions that hold blobs and whose time has not come."""
    rows = (row for row in _withdrawn(session) if not _is_ripe(row, final, before))
    return [row.id for row in rows if grants.held_for(session, row.id)]


def _withdrawn(session: Session) -> Sequence[SubmissionRow]:
    withdrawn = col(SubmissionRow.withdrawn_index)
    return session.exec(select(SubmissionRow).where(withdrawn.is_not(None)).order_by(withdrawn)).all()


def _is_ripe(row: SubmissionRow, final: int, before: str) -> bool:
    return row.withdrawn_index is not None and row.withdrawn_index < final and row.withdrawn_at <= before


def _only(grounds: Sequence[grants.Ground], ripe: set[str]) -> bool:
    """Whether ripe submissions are all on account of which the blob must be here."""
    return all(ground.withdrawn and ground.source in ripe for ground in grounds)


def _size(row: SubmissionRow, blobs: Sequence[Digest]) -> int:
    sizes = {file["digest"]: int(file["size"]) for file in row.files}
    return sum(sizes[digest] for digest in blobs)


class Purger:
    """Blocking, but for `run`. `grace` in days; None: nothing more is purged, and what was is deleted all the same."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        finality: Finality,
        disposal: Disposal,
        examination: Examination,
        grace: float | None,
    ) -> None:
        self._database, self._journal, self._finality, self._disposal = database, journal, finality, disposal
        self._examination, self._grace = examination, grace
        self._gone: dict[Digest, int] = {}  # by which entry

    def plan(self) -> Purged:
        """What `look` would do now."""
        with self._database.session() as session:
            condemned = self._condemned(session)
            waiting = {digest for digest in condemned if self._disposal.needed(session, digest)}
            planned = Purged(self._due(session), self._later(session))
        lying = [digest for digest in condemned if self._disposal.lies(digest)]
        planned.deleted = [digest for digest in lying if digest not in waiting]
        planned.waiting = [digest for digest in lying if digest in waiting]
        return planned

    def look(self) -> Purged:
        """Record what is due, then delete what is condemned. Raises `Unavailable`; then the next look goes on."""
        with self._database.session() as session:
            done = Purged(self._due(session), self._later(session))
        for each in done.recorded:
            names = {"hub": self._journal.origin, "signer": HUB, "submission": each.submission}
            self._journal.sign_and_record(Purge.read({**names, "blobs": each.blobs}))
            _log.info("%s is purged: %d blobs", each.submission, len(each.blobs))
        self._delete(done)
        return done

    def _due(self, session: Session) -> list[Due]:
        return [] if self._grace is None else due(session, self._finality.size(session), _days_ago(self._grace))

    def _later(self, session: Session) -> list[str]:
        return [] if self._grace is None else unripe(session, self._finality.size(session), _days_ago(self._grace))

    def _condemned(self, session: Session) -> dict[Digest, int]:
        """To be deleted, as far as the ledger's final entries say so; what this process saw gone is not looked for again."""
        found = grants.condemned(session, self._finality.size(session))
        return {digest: index for digest, index in found.items() if self._gone.get(digest) != index}

    def _delete(self, done: Purged) -> None:
        with self._database.session() as session:
            condemned = self._condemned(session)
            submissions = _purged(session)
        self._examination.purge(submissions)
        for digest, index in condemned.items():
            lay = self._disposal.lies(digest)
            if self._disposal.dispose(digest) != "gone":
                done.waiting.append(digest)
                continue
            if lay:
                done.deleted.append(digest)
                _log.info("%s is deleted", digest)
            self._gone[digest] = index

    async def run(self) -> None:
        """Until cancelled. A disk or bucket that does not answer is asked again at the next look."""
        news, loop = asyncio.Event(), asyncio.get_running_loop()

        def heard(entry: Entry) -> None:
            if entry.kind == "withdrawal" and not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        self._journal.listen(heard)
        while True:
            news.clear()
            try:
                await asyncio.to_thread(self.look)
            except Problem as problem:
                _log.warning("what was withdrawn waits to be purged: %s", problem.diagnostics())
            try:
                async with asyncio.timeout(PAUSE):
                    await news.wait()
            except TimeoutError:
                continue


def _purged(session: Session) -> list[str]:
    """Submissions that a purge concerns."""
    return [row.id for row in _withdrawn(session) if grants.purged_of(session, row.id)]


def _days_ago(days: float) -> str:
    return rfc3339(dt.datetime.now(dt.UTC) - dt.timedelta(days=days))
