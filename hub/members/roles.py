"""Whom a verified certificate stands for, at this moment: asked on every call and on every message of a stream."""

from __future__ import annotations

import time
from typing import TypeAlias

from hub.access import Caller, Presented
from hub.database import Database
from hub.ledger.journal import Entry
from hub.members.directory import member_of_delegation, standing_of
from hub.members.tables import NodeRow
from protos.documents.base import moment, now
from protos.documents.standing import SKEW, Standing
from trust.errors import Denied

MEMORY = 5.0
"""Seconds that an answer is remembered: what another process of this hub recorded is heard of this late."""

_KINDS = frozenset({"member", "node", "keys", "revocation", "delegation"})
_Known: TypeAlias = "tuple[float, Standing | None]"


class Roles:
    """Remembers standings, and forgets them as soon as the ledger says something about parties or keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str], _Known] = {}
        self._generation = 0

    def __call__(self, who: Presented) -> Caller:
        """Raises `Denied` for a party that is not, or no longer, enrolled, and for a certificate that was disowned."""
        standing = self._standing(who.kind, who.name)
        if standing is None:
            return Caller("node", who.name, "node")
        _check_certificate(standing, who)
        if who.kind == "member":
            return Caller("member", standing.member, standing.role)
        delegate = standing.delegate(who.name)
        if not delegate.key.valid or moment(now()) > moment(delegate.expires_at) + SKEW:
            raise Denied(f"{delegate.id} was revoked or has expired.", "Ask the member for a new delegation.")
        return Caller("member", standing.member, standing.role, frozenset(delegate.kinds))

    def heard(self, entry: Entry) -> None:
        """For `Journal.listen`."""
        if entry.kind in _KINDS:
            self._generation += 1
            self._known = {}

    def _standing(self, kind: str, name: str) -> Standing | None:
        known = self._known.get((kind, name))
        if known is not None and time.monotonic() - known[0] < MEMORY:
            return known[1]
        generation, looked_at = self._generation, time.monotonic()
        standing = self._look_up(kind, name)
        if generation == self._generation:  # what was read before a change is not remembered after it
            self._known[kind, name] = looked_at, standing
        return standing

    def _look_up(self, kind: str, name: str) -> Standing | None:
        with self._database.session() as session:
            if kind == "node":
                if session.get(NodeRow, name) is None:
                    raise Denied(f"The node {name!r} is not enrolled here.", "Ask the core team for an invitation.")
                return None
            return standing_of(session, member_of_delegation(session, name) if kind == "delegate" else name)


def _check_certificate(standing: Standing, who: Presented) -> None:
    if standing.revoked:
        raise Denied(f"The member {standing.member} was revoked.", "Ask the core team.")
    before = moment(standing.revoked_at).replace(microsecond=0) if standing.revoked_at else None
    if who.keyid in standing.disowned or (before is not None and who.issued <= before):
        raise Denied("The key of this certificate was revoked.", "Use the certificate of your present key.")
