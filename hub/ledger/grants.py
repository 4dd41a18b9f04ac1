"""Who may read which blob. Grants are written by projections, so they follow from the ledger alone; loans are not."""

from __future__ import annotations

from sqlmodel import Session, col, select

from hub.ledger.tables import BlobGrant, BlobLoan
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


def lend(session: Session, digest: Digest | str, audience: str) -> None:
    """Let `audience` read a blob that no entry names yet. Idempotent; forgotten with the database."""
    session.merge(BlobLoan(digest=str(digest), audience=audience))


def may_read(session: Session, digest: Digest, *, member: str = "", node: bool = False) -> bool:
    audiences = [EVERYONE, NODES] if node else [EVERYONE, member_audience(member)]
    for table in (BlobGrant, BlobLoan):
        query = select(table.digest).where(table.digest == digest, col(table.audience).in_(audiences))
        if session.exec(query.limit(1)).first() is not None:
            return True
    return False
