"""Who may read which blob, and whether it must be here. Grants are written by projections, so they follow from the ledger
alone; loans are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, text
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, delete, func, select

from hub.ledger.tables import BlobGrant, BlobLoan
from trust.digests import Digest

# One statement that SQLite and PostgreSQL share: every entry grants, and asking first would double the work.
_GRANT = text(
    "INSERT INTO blob_grant (digest, audience, source, withdrawn) VALUES (:digest, :audience, :source, FALSE) "
    "ON CONFLICT DO NOTHING"
)

EVERYONE = "everyone"
NODES = "nodes"
NOBODY = "nobody"
"""The audience of a loan that only says that the blob was made here, and is to go when nothing came of it."""


@dataclass(frozen=True)
class Ground:
    """Why a blob must be here: a submission, or an empty source for what never goes."""

    source: str
    withdrawn: bool


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


def purge(session: Session, digests: Iterable[str], index: int) -> None:
    """Entry `index` says that these blobs need not be here, on account of all that named them before it."""
    for row in session.exec(select(BlobGrant).where(col(BlobGrant.digest).in_(list(digests)), _NOT_PURGED)):
        row.purged = index
        session.add(row)


def grounds(session: Session, digest: Digest | str) -> list[Ground]:
    """Everything in the ledger on account of which the blob must be here."""
    rows = session.exec(select(BlobGrant).where(BlobGrant.digest == digest, _NOT_PURGED))
    return [Ground(row.source, row.withdrawn) for row in rows]


def named(session: Session, digest: Digest) -> bool:
    """Whether the ledger says that the blob is to be here."""
    query = select(BlobGrant.digest).where(BlobGrant.digest == digest, _NOT_PURGED)
    return session.exec(query.limit(1)).first() is not None


def is_known(session: Session, digest: Digest) -> bool:
    """Whether an entry names the blob, or did."""
    return session.exec(select(BlobGrant.digest).where(BlobGrant.digest == digest).limit(1)).first() is not None


def held_for(session: Session, source: str) -> list[Digest]:
    """A submission's blobs that were not purged."""
    query = select(BlobGrant.digest).where(BlobGrant.source == source, _NOT_PURGED).distinct()
    return sorted(Digest(digest) for digest in session.exec(query))


def purged_of(session: Session, source: str) -> dict[Digest, int]:
    """A submission's blobs that were purged, with the entry that says so."""
    query = select(BlobGrant.digest, BlobGrant.purged).where(BlobGrant.source == source, _PURGED)
    return {Digest(digest): index for digest, index in session.exec(query) if index is not None}


def condemned(session: Session, size: int) -> dict[Digest, int]:
    """Blobs that the ledger's first `size` entries purge and that nothing has named since: they are to be deleted. With the
    last entry that purges each."""
    other = aliased(BlobGrant)
    still = select(other.digest).where(
        other.digest == BlobGrant.digest, or_(col(other.purged).is_(None), col(other.purged) >= size)
    )
    query = select(BlobGrant.digest, func.max(BlobGrant.purged)).where(_PURGED, ~still.exists())
    found = session.exec(query.group_by(BlobGrant.digest))
    return {Digest(digest): index for digest, index in found if index is not None}


def lend(session: Session, digest: Digest | str, audience: str) -> None:
    """Let `audience` read a blob that no entry names yet. Idempotent; forgotten with the database."""
    session.merge(BlobLoan(digest=str(digest), audience=audience))


def loans(session: Session) -> dict[Digest, frozenset[str]]:
    """Blobs that are lent, with their audiences."""
    found: dict[Digest, frozenset[str]] = {}
    for row in session.exec(select(BlobLoan)):
        found[Digest(row.digest)] = found.get(Digest(row.digest), frozenset()) | {row.audience}
    return found


def end_loans(session: Session, digest: Digest) -> None:
    session.exec(delete(BlobLoan).where(col(BlobLoan.digest) == digest))


def may_read(session: Session, digest: Digest, *, member: str = "", node: bool = False) -> bool:
    audiences = [EVERYONE, NODES] if node else [EVERYONE, member_audience(member)]
    lent = select(BlobLoan.digest).where(BlobLoan.digest == digest, col(BlobLoan.audience).in_(audiences))
    return is_granted(session, digest, audiences) or session.exec(lent.limit(1)).first() is not None


def is_granted(session: Session, digest: Digest, audiences: Sequence[str]) -> bool:
    """Whether an entry that stands lets one of the audiences read the blob."""
    granted = select(BlobGrant.digest).where(
        BlobGrant.digest == digest, col(BlobGrant.audience).in_(audiences), col(BlobGrant.withdrawn).is_(False)
    )
    return session.exec(granted.limit(1)).first() is not None


_PURGED = col(BlobGrant.purged).is_not(None)
_NOT_PURGED = col(BlobGrant.purged).is_(None)
