"""Who may read which blob. Grants are written by projections, so they follow from the ledger alone."""

from __future__ import annotations

from sqlmodel import Session, col, select

from hub.ledger.tables import BlobGrant
from trust.digests import Digest

EVERYONE = "everyone"
NODES = "nodes"


def member_audience(member: str) -> str:
    return f"member:{member}"


def grant(session: Session, digest: Digest | str, audience: str) -> None:
    """Let `audience` read the blob. Idempotent."""
    if session.get(BlobGrant, (digest, audience)) is None:
        session.add(BlobGrant(digest=digest, audience=audience))
        session.flush()


def may_read(session: Session, digest: Digest, *, member: str = "", node: bool = False) -> bool:
    audiences = [EVERYONE, NODES] if node else [EVERYONE, member_audience(member)]
    query = select(BlobGrant).where(BlobGrant.digest == digest, col(BlobGrant.audience).in_(audiences))
    return session.exec(query.limit(1)).first() is not None
