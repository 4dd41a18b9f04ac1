"""Certificates for parties: short-lived, for keys that are nobody else's, with the authorities that the hub shows now."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass

from sqlmodel import Session, col, delete

from hub.authorities import Authorities
from hub.database import Database
from hub.members import directory
from hub.members.projection import refuse_known
from hub.members.tables import MemberRow, NodeRow, TlsKeyRow
from protos.coalition.v1 import members_pb2
from protos.documents.base import moment
from protos.documents.base import now as present
from trust.authorities import sign_authorities
from trust.certificates import certificate_challenge, party_uri, public_key_of_request
from trust.errors import Denied, Invalid, Unavailable
from trust.keys import ArtifactKey, ArtifactPublicKey

MAX_REQUEST = 16_384
PATIENCE = dt.timedelta(seconds=2)
MEMORY = dt.timedelta(days=30)
"""How long a TLS key is remembered after its last certificate ran out."""


@dataclass(frozen=True)
class Entitled:
    """What a party may be certified by at this moment: its artifact `keys` (a node has none), until when at the latest.

    Certificates of up to the second `revoked_at` count for nothing.
    """

    keys: tuple[ArtifactPublicKey, ...] = ()
    until: dt.datetime | None = None
    revoked_at: str = ""

    @property
    def keyids(self) -> set[str]:
        return {key.keyid for key in self.keys} or {""}


class Certification:
    """`days` is how long a certificate holds; parties renew theirs by themselves when a third of it is left."""

    def __init__(self, database: Database, authorities: Authorities, key: ArtifactKey, days: float) -> None:
        self._database, self._authorities, self._key, self._days = database, authorities, key, days

    def check(self, request: bytes, kind: str, party: str) -> None:
        """Whether the request's key may be certified for the party. Raises `Invalid`, or `Denied` for another's key."""
        if len(request) > MAX_REQUEST:
            raise Invalid("The certificate request is too large.")
        keyid = public_key_of_request(request).keyid
        with self._database.session() as session:
            self._check_owner(session, keyid, kind, party)

    def prover(self, request: bytes, kind: str, party: str, proof: bytes) -> str:
        """The keyid of the party's key that signed for this request; empty for a node, which has none. Raises `Denied`."""
        with self._database.session() as session:
            keys = _entitled(session, kind, party).keys
        return self.proved(request, kind, party, proof, keys) if keys else ""

    def proved(self, request: bytes, kind: str, party: str, proof: bytes, keys: tuple[ArtifactPublicKey, ...]) -> str:
        """As `prover`, of these keys."""
        challenge = certificate_challenge(party_uri(self._authorities.issuing.hub, kind, party), request)
        for key in keys:
            try:
                key.verify(proof, challenge)
            except Denied:
                continue
            return key.keyid
        raise Denied(
            f"No key that {party} has now signed for this certificate.",
            "If `coalition keys rotate` was cut short, run it again.",
        )

    def issue(self, request: bytes, kind: str, party: str, holder: str) -> members_pb2.Certified:
        """`holder` is the keyid of the party's artifact key that was proved for this request, empty for a node.

        Whether it still speaks for the party is looked up when nothing can come in between. Raises as `check`, `Denied` for a
        party or key that was revoked, `Unavailable` while the clock is behind what the ledger says.
        """
        self.check(request, kind, party)
        with self._database.session() as session:
            _outlast(_entitled(session, kind, party).revoked_at)
        with self._database.session(writing=True) as session:
            entitled = _entitled(session, kind, party, alone=True)
            if holder not in entitled.keyids:
                raise Denied(
                    f"The key of {party} was replaced or revoked meanwhile.", "Ask again with its present key."
                )
            return self._certify(session, request, kind, party, entitled)

    def _certify(
        self, session: Session, request: bytes, kind: str, party: str, entitled: Entitled
    ) -> members_pb2.Certified:
        keyid, now = public_key_of_request(request).keyid, dt.datetime.now(dt.UTC)
        if _behind(now, entitled.revoked_at):
            raise Unavailable(f"A key of {party} was revoked at this very moment.", "Try again.")
        expires = now + dt.timedelta(days=self._days)
        if entitled.until is not None:
            expires = min(expires, max(entitled.until, now))
        self._check_owner(session, keyid, kind, party)
        session.exec(delete(TlsKeyRow).where(col(TlsKeyRow.expires_at) < (now - MEMORY).isoformat()))
        session.merge(TlsKeyRow(keyid=keyid, kind=kind, party=party, expires_at=expires.isoformat()))
        authority, roots = self._authorities.issuing, self._authorities.roots
        uri, days = party_uri(authority.hub, kind, party), (expires - now) / dt.timedelta(days=1)
        return members_pb2.Certified(
            certificate=authority.issue_client(request, uri, days, now=now),
            authorities=roots,
            authorities_proof=sign_authorities(authority.hub, roots, self._key),
        )

    @staticmethod
    def in_time(expires_at: str) -> bool:
        return moment(expires_at) > dt.datetime.now(dt.UTC)

    @staticmethod
    def _check_owner(session: Session, keyid: str, kind: str, party: str) -> None:
        row = session.get(TlsKeyRow, keyid)
        if row is None or (row.kind, row.party) != (kind, party):
            refuse_known(session, keyid)


def _entitled(session: Session, kind: str, party: str, *, alone: bool = False) -> Entitled:
    """Raises `Denied` for a party that is not, or no longer, one. `alone`: a revocation that is under way ends first."""
    if kind == "node":
        session.get(NodeRow, party, with_for_update=alone)
        return Entitled(revoked_at=directory.node(session, party).revoked_at)
    member = directory.member_of_delegation(session, party) if kind == "delegate" else party
    session.get(MemberRow, member, with_for_update=alone)
    standing = directory.standing_of(session, member)
    if kind == "delegate":
        delegate = standing.delegate(party)
        if not delegate.counts(present()):
            raise Denied(f"{party} was revoked or has expired.", "Ask the member for a new delegation.")
        return Entitled((delegate.key.public,), moment(delegate.expires_at))
    if standing.revoked:
        raise Denied(f"The member {party} was revoked.", "Ask the core team.")
    return Entitled(tuple(key.public for key in standing.valid_keys), revoked_at=standing.revoked_at)


def _behind(now: dt.datetime, revoked_at: str) -> bool:
    """Certificates tell the time in whole seconds: one that is to count comes from a later second than the revocation."""
    return bool(revoked_at) and now.replace(microsecond=0) <= moment(revoked_at)


def _outlast(revoked_at: str) -> None:
    """Wait for that second to pass. Raises `Unavailable` where it is far off: the clock was set back since."""
    if not _behind(now := dt.datetime.now(dt.UTC), revoked_at):
        return
    left = moment(revoked_at).replace(microsecond=0) + dt.timedelta(seconds=1) - now
    if left > PATIENCE:
        raise Unavailable(
            f"The hub's clock is {left.total_seconds():.0f} seconds behind its ledger.",
            "Its operator must set it right.",
        )
    time.sleep(left / dt.timedelta(seconds=1))
