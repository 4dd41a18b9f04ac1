"""Submissions that were opened and never committed: dropped with what came of them, which returns their reservation.

First a submission counts on nothing any more (`dropped`), then those of its files are deleted that nobody needs, then it is
forgotten. A crash in between costs nothing: what is dropped and not forgotten is gone on with. Who opens it again sends again.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from hub.blobs import BlobStore
from hub.database import Database
from hub.disposal import Disposal, look_again
from hub.submissions import drafts
from hub.submissions.drafts import Draft
from protos.documents.base import rfc3339
from trust.digests import Digest

PAUSE = 600.0
"""Seconds between two looks."""

_log = logging.getLogger(__name__)


@dataclass
class Swept:
    """Submissions that were `dropped` or would be, and blobs that were `deleted` with them."""

    dropped: list[str] = field(default_factory=list)
    deleted: list[Digest] = field(default_factory=list)


class Sweeper:
    """Blocking, but for `run`. Drops what is older than `days`; `forget` drops what the course of a screening left."""

    def __init__(
        self, database: Database, blobs: BlobStore, disposal: Disposal, days: float, forget: Callable[[str], None]
    ) -> None:
        self._database, self._blobs, self._disposal, self._forget = database, blobs, disposal, forget
        self._age = dt.timedelta(days=days)

    def plan(self) -> Swept:
        """What `look` would drop now."""
        return Swept([draft.id for draft in self._stale(dt.datetime.now(dt.UTC) - self._age)])

    def look(self, moment: dt.datetime | None = None) -> Swept:
        """Drop what was opened before a moment (by default, `days` ago) and of which nothing came since; go on with what was
        dropped. Raises `Unavailable`; then the next look goes on."""
        before = moment or dt.datetime.now(dt.UTC) - self._age
        for draft in self._stale(before):
            with self._database.session(writing=True) as session:
                drafts.drop(session, draft, rfc3339(before))
        done = Swept()
        with self._database.session() as session:
            dropped = drafts.dropped(session)
        for draft in dropped:
            self._end(draft, done)
        self._forget_strangers(before)
        return done

    def _stale(self, before: dt.datetime) -> list[Draft]:
        with self._database.session() as session:
            found = drafts.stale(session, rfc3339(before))
        return [draft for draft in found if self._blobs.partials.last(draft.id) < before.timestamp()]

    def _end(self, draft: Draft, done: Swept) -> None:
        """Delete and forget; one with a file that came a moment ago waits."""
        outcomes = []
        for digest in draft.digests:
            lay = self._disposal.lies(digest)
            outcomes.append(self._disposal.dispose(digest))
            if lay and outcomes[-1] == "gone":
                done.deleted.append(digest)
        if "fresh" in outcomes:
            return
        with self._database.session(writing=True) as session:
            forgotten = drafts.forget(session, draft.id)
        if forgotten:
            self._blobs.partials.forget(draft.id)
            self._forget(draft.id)
            done.dropped.append(draft.id)
            _log.info("%s was never committed and is dropped", draft.id)

    def _forget_strangers(self, before: dt.datetime) -> None:
        """Parts of files that belong to no submission, as after a rebuild of the database."""
        owners = self._blobs.partials.owners()
        with self._database.session() as session:
            known = drafts.known(session)
        for owner in owners - known:
            if self._blobs.partials.last(owner) < before.timestamp():
                self._blobs.partials.forget(owner)

    async def run(self) -> None:
        """Until cancelled."""
        await look_again(self.look, PAUSE, "submissions that were never committed wait to be dropped")
