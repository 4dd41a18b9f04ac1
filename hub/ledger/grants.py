"""Who may read which blob. Grants are written by projections, so they follow from the ledger alone; loans are not."""

from __future__ import annotations

from sqlalchemy import text
from sqlmodel import Session, col, select

from hub.ledger.tables import BlobGrant, BlobLoan
from trust.digests import Digest

# One statement that SQLite and PostgreSQL share: every entry grants, and asking first would double the work.
_GRANT = text(
    "INSERT INTO blob_grant (digest, audience, source, withdrawn) VALUES (:digest, :audience, :source, FALSE) "
    "ON CONFLICT DO NOTHING"
)

EVERYONE = "everyone"
NODES = "nodes"


def member_audience(member: str) -> str:
    return f"member:{member}"


def grant(session: Session, digest: Digest | str, audience: str, source: str = "") -> None:
    """Let `audience` read the blob, because of the submission `source` where that may be withdrawn. Idempotent."""
    session.connection().execute(_GRANT, {"digest": digest, "audience": audience, "source": source})


def withdraw(session: Session, source: str) -> None:
    """What was granted because of a submission holds no more; what others granted of the same bytes does."""
    for row in session.exec(select(BlobGrant).where(BlobGrant.source == source)):
        row.withdrawn = True
        session.add(row)


def withdrawn_with(session: Session, digest: Digest) -> str:
    """The submission that a blob was withdrawn with; empty where something that stands still names it."""
    rows = session.exec(select(BlobGrant).where(BlobGrant.digest == digest)).all()
    return rows[0].source if rows and all(row.withdrawn for row in rows) else ""


def lend(session: Session, digest: Digest | str, audience: str) -> None:
    """Let `audience` read a blob that no entry names yet. Idempotent; forgotten with the database."""
    session.merge(BlobLoan(digest=str(digest), audience=audience))


def may_read(session: Session, digest: Digest, *, member: str = "", node: bool = False) -> bool:
    audiences = [EVERYONE, NODES] if node else [EVERYONE, member_audience(member)]
    granted = select(BlobGrant.digest).where(
        BlobGrant.digest == digest, col(BlobGrant.audience).in_(audiences), col(BlobGrant.withdrawn).is_(False)
    )
    lent = select(BlobLoan.digest).where(BlobLoan.digest == digest, col(BlobLoan.audience).in_(audiences))
    return any(session.exec(query.limit(1)).first() is not None for query in (granted, lent))
