"""Whom a verified certificate stands for, at this moment: asked on every call and on every message of a stream."""

from __future__ import annotations

import time
from typing import TypeAlias

from hub.callers import Caller, Presented
from hub.database import Database
from hub.ledger.entries import Entry
from hub.members.directory import member_of_delegation, node, standing_of
from hub.members.tables import NodeRow
from protos.documents.base import moment, now
from protos.documents.standing import Standing
from trust.errors import Denied

MEMORY = 5.0
"""Seconds that an answer is remembered: what another process of this hub recorded is heard of this late."""

_KINDS = frozenset({"member", "node", "keys", "revocation", "delegation", "node-revocation"})
_Known: TypeAlias = "tuple[float, Standing | NodeRow]"


class Roles:
    """Remembers standings, and forgets them as soon as the ledger says something about parties or keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str], _Known] = {}
        self._generation = 0

    def __call__(self, who: Presented) -> Caller:
        """Raises `Denied` for a party that is not, or no longer, enrolled, and for a certificate that was disowned."""
        found = self._find(who.kind, who.name)
        if isinstance(found, NodeRow):
            _check_time(who, found.revoked_at)
            return Caller("node", who.name, "node")
        if who.keyid in found.disowned:
            raise _disowned()
        if who.kind == "member":
            if found.revoked:
                raise Denied(f"The member {found.member} was revoked.", "Ask the core team.")
            if who.keyid not in found.kept:
                _check_time(who, found.revoked_at)
            return Caller("member", found.member, found.role)
        delegate = found.delegate(who.name)
        if not delegate.counts(now()):
            raise Denied(f"{delegate.id} was revoked or has expired.", "Ask the member for a new delegation.")
        return Caller("member", found.member, found.role, frozenset(delegate.kinds))

    def heard(self, entry: Entry) -> None:
        """For `Journal.listen`."""
        if entry.kind in _KINDS:
            self._generation += 1
            self._known = {}

    def _find(self, kind: str, name: str) -> Standing | NodeRow:
        known = self._known.get((kind, name))
        if known is not None and time.monotonic() - known[0] < MEMORY:
            return known[1]
        generation, looked_at = self._generation, time.monotonic()
        found = self._look_up(kind, name)
        if generation == self._generation:  # what was read before a change is not remembered after it
            self._known[kind, name] = looked_at, found
        return found

    def _look_up(self, kind: str, name: str) -> Standing | NodeRow:
        with self._database.session() as session:
            if kind == "node":
                return node(session, name)
            return standing_of(session, member_of_delegation(session, name) if kind == "delegate" else name)


def _check_time(who: Presented, revoked_at: str) -> None:
    """Certificates of up to the second of a revocation count for nothing: who was it that renewed them?"""
    if revoked_at and who.issued <= moment(revoked_at):
        raise _disowned()


def _disowned() -> Denied:
    return Denied("The key of this certificate was revoked.", "Use the certificate of your present key.")
