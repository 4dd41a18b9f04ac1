"""Certificates for parties: short-lived, for keys that are nobody else's, with the authorities that the hub shows now."""

from __future__ import annotations

import datetime as dt

from sqlmodel import Session

from hub.authorities import Authorities
from hub.database import Database
from hub.members.projection import refuse_known
from hub.members.tables import TlsKeyRow
from protos.coalition.v1 import members_pb2
from trust.authorities import sign_authorities
from trust.certificates import party_uri, public_key_of_request
from trust.errors import Invalid
from trust.keys import ArtifactKey

MAX_REQUEST = 16_384


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

    def issue(self, request: bytes, kind: str, party: str, until: dt.datetime | None = None) -> members_pb2.Certified:
        """Raises as `check`."""
        self.check(request, kind, party)
        keyid = public_key_of_request(request).keyid
        now = dt.datetime.now(dt.UTC)
        expires = now + dt.timedelta(days=self._days)
        if until is not None:
            expires = min(expires, max(until, now))
        authority = self._authorities.issuing
        uri = party_uri(authority.hub, kind, party)
        with self._database.session(writing=True) as session:
            self._check_owner(session, keyid, kind, party)
            session.merge(TlsKeyRow(keyid=keyid, kind=kind, party=party, expires_at=expires.isoformat()))
        roots = self._authorities.roots
        return members_pb2.Certified(
            certificate=authority.issue_client(request, uri, (expires - now) / dt.timedelta(days=1)),
            authorities=roots,
            authorities_proof=sign_authorities(authority.hub, roots, self._key),
        )

    @staticmethod
    def in_time(expires_at: str) -> bool:
        return dt.datetime.fromisoformat(expires_at.replace("Z", "+00:00")) > dt.datetime.now(dt.UTC)

    @staticmethod
    def _check_owner(session: Session, keyid: str, kind: str, party: str) -> None:
        row = session.get(TlsKeyRow, keyid)
        if row is None or (row.kind, row.party) != (kind, party):
            refuse_known(session, keyid)
