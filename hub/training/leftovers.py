"""What runs leave behind: blobs that nodes made and no entry names, and the copies on the nodes.

Packed tokens are their data in another form, so what is withdrawn would live on in them. They are lent to the nodes while a run
needs them, and go when it has ended. Nodes say what they keep, and are told what of it to forget.
"""

from __future__ import annotations

import logging

from sqlmodel import Session

from hub.database import Database
from hub.disposal import FRESH, Disposal, look_again
from hub.ledger import grants
from hub.training import store
from protos.coalition.v1 import training_pb2
from trust.digests import Digest, parse_digest

PAUSE = 600.0
"""Seconds between two looks."""

_log = logging.getLogger(__name__)


class Leftovers:
    """Blocking, but for `run`. What a node sent and nobody recorded goes after `days`."""

    def __init__(self, database: Database, disposal: Disposal, days: float) -> None:
        self._database, self._disposal, self._age = database, disposal, days * 86_400

    def plan(self) -> list[Digest]:
        """Blobs that `look` would delete now, but for those that came or were relied on lately."""
        with self._database.session() as session:
            unused = self._unused(session)
            return [d for d in unused if self._disposal.lies(d) and not self._disposal.needed(session, d)]

    def look(self) -> list[Digest]:
        """Delete what runs that have ended leave; what was deleted. Raises `Unavailable`; then the next look goes on."""
        with self._database.session() as session:
            unused = self._unused(session)
        deleted = []
        for digest, audiences in unused.items():
            lay = self._disposal.lies(digest)
            outcome = self._disposal.dispose(digest, FRESH if grants.NODES in audiences else self._age)
            if outcome == "fresh":
                continue
            with self._database.session(writing=True) as session:
                if digest not in store.at_work(session):
                    grants.end_loans(session, digest)
            if lay and outcome == "gone":
                deleted.append(digest)
                _log.info("%s, which a run left, is deleted", digest)
        return deleted

    def _unused(self, session: Session) -> dict[Digest, frozenset[str]]:
        working = store.at_work(session)
        return {digest: lent for digest, lent in grants.loans(session).items() if digest not in working}

    async def run(self) -> None:
        """Until cancelled."""
        await look_again(self.look, PAUSE, "what runs left waits to be deleted")


def needs(session: Session, digest: Digest) -> bool:
    """Whether a run that has not ended needs a blob that nodes made."""
    return digest in store.at_work(session)


def useless(session: Session, kept: training_pb2.Kept) -> training_pb2.Forget:
    """Of what a node keeps: blobs that it may not read any more, and runs that have ended. Raises `Invalid` for no digest."""
    working = store.at_work(session)
    going = {run.id for run in store.unfinished(session)}
    audiences = [grants.EVERYONE, grants.NODES]
    return training_pb2.Forget(
        digests=[
            digest
            for digest in map(parse_digest, kept.digests)
            if digest not in working and not grants.is_granted(session, digest, audiences)
        ],
        runs=[run for run in kept.runs if run not in going],
    )
