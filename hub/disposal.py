"""The one way in which a blob leaves the store: nobody needs it, and nobody relied on it a moment ago.

Who needs a blob says each room, from the ledger's projections and from work that goes on. They are asked while nobody can begin
to rely on it (`hub.gate`), so an answer holds until the blob is gone. What is written down nowhere yet (a model between its bytes
and its entry) is protected by its age.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Literal, NoReturn, TypeAlias

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.database import Database
from trust.digests import Digest
from trust.errors import Problem

_log = logging.getLogger(__name__)

FRESH = 3600.0
"""Seconds for which a blob stays that was stored or relied on: longer than anything takes from a blob to the entry that names
it, and no longer than an object store's cache remembers (`hub.object_blobs.IDLE`)."""

Need: TypeAlias = Callable[[Session, Digest], bool]
"""Whether a room needs a blob, as far as this session sees."""

Outcome: TypeAlias = Literal["gone", "needed", "fresh"]


class Disposal:
    """Blocking. `needs` are the rooms' questions; one yes is enough."""

    def __init__(self, database: Database, blobs: BlobStore, needs: Sequence[Need]) -> None:
        self._database, self._blobs, self._needs = database, blobs, needs

    def needed(self, session: Session, digest: Digest) -> bool:
        return any(need(session, digest) for need in self._needs)

    def lies(self, digest: Digest) -> bool:
        """Whether it is in the store, be it as a damaged one that was set aside."""
        return self._blobs.has(digest) or self._blobs.was_set_aside(digest)

    def dispose(self, digest: Digest, age: float = FRESH) -> Outcome:
        """Delete it durably, unless it is needed, or was relied on within `age` seconds. Idempotent, also after a crash.

        Raises `Unavailable` when the disk, the bucket or the database does not answer; then it may still be there.
        """
        with self._blobs.gate.alone():
            if not self.lies(digest):
                return "gone"
            with self._database.session() as session:
                if self.needed(session, digest):
                    return "needed"
            if self._blobs.idle(digest) < age:
                return "fresh"
            self._blobs.drop(digest)
            return "gone"


async def look_again(look: Callable[[], object], pause: float, what: str) -> NoReturn:
    """Look every `pause` seconds, until cancelled. A disk or bucket that does not answer is asked again at the next look; then
    `what` has to wait."""
    while True:
        try:
            await asyncio.to_thread(look)
        except Problem as problem:
            _log.warning("%s: %s", what, problem.diagnostics())
        await asyncio.sleep(pause)
