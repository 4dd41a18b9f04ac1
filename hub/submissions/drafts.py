"""Open submissions in the database, and the blobs that they count on: what a member was told it need not send stays here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from sqlmodel import Session, col, delete, select

from hub.ledger.grants import may_read, named
from hub.submissions.tables import DraftRow, FindingRow, UploadedRow
from protos.documents import statements
from protos.documents.base import FileEntry, now
from protos.documents.statements import Claimed
from protos.documents.submissions import Submission, Suite
from trust.digests import Digest
from trust.errors import Conflict, NotFound

SMALL = 16 << 10
"""Bytes of an envelope that is kept parsed: who lists a thousand open submissions over and over must not keep others waiting."""


@dataclass(frozen=True)
class Draft:
    """An opened submission."""

    id: str
    state: str
    claimed: Claimed
    envelope: bytes

    @classmethod
    def of(cls, row: DraftRow) -> Draft:
        read = _read_small if len(row.envelope) <= SMALL else statements.read
        return cls(row.id, row.state, read(row.envelope), row.envelope)

    @property
    def claim(self) -> Submission:
        return cast(Submission, self.claimed.claim)

    @property
    def sealed(self) -> bool:
        return isinstance(self.claim, Suite) and self.claim.visibility == "sealed"

    @property
    def digests(self) -> list[Digest]:
        """Of the files that come to the hub, each once."""
        return list(dict.fromkeys(Digest(file.digest) for file in self.claim.sent))

    def file(self, digest: Digest) -> FileEntry:
        for entry in self.claim.sent:
            if entry.digest == digest:
                return entry
        raise NotFound(f"The submission {self.id} sends no file {digest}.")


@lru_cache(1024)
def _read_small(envelope: bytes) -> Claimed:
    return statements.read(envelope)


def begin(session: Session, draft: Draft) -> None:
    """Open it, or open it again. While it is being screened it stays as it is.

    In the transaction in which its space is reserved, and while nobody deletes blobs (`hub.gate`).
    """
    row = session.get(DraftRow, draft.id, with_for_update=True)
    if row is None or row.state != "screening":
        by = {"member": draft.claim.signer, "delegation": draft.claim.delegation or ""}
        session.merge(DraftRow(id=draft.id, envelope=draft.envelope, opened_at=now(), **by))
    count_on(session, draft)


def count_on(session: Session, draft: Draft) -> None:
    """From now on it counts on the blobs that its member may read, and so need not send. While nobody deletes blobs."""
    held = counted(session, draft.id)
    for digest in draft.digests:
        if may_read(session, digest, member=draft.claim.signer) and digest not in held:
            session.add(UploadedRow(submission=draft.id, digest=digest))


def show(session: Session, draft: Draft, digest: Digest) -> None:
    """The member has sent the whole file; it counts on it from now on. While nobody deletes blobs.

    Once it is accepted the ledger does. Raises `NotFound` when it was dropped meanwhile, `Conflict` when nothing needs the file.
    """
    if alive(session, draft.id).state != "accepted":
        session.merge(UploadedRow(submission=draft.id, digest=digest, shown_at=now()))
    elif not named(session, digest):
        raise Conflict(f"{draft.id} was accepted, withdrawn and purged: nobody needs {digest}.")


def alive(session: Session, identifier: str) -> DraftRow:
    """Its row, which nobody else changes in this transaction. Raises `NotFound` when it was dropped."""
    row = session.get(DraftRow, identifier, with_for_update=True)
    if row is None or row.state == "dropped":
        raise NotFound(f"You have no open submission {identifier!r}.", "Submit it again.")
    return row


def counted(session: Session, identifier: str) -> dict[Digest, str]:
    """What a submission counts on, with when it was shown; empty where it need not be."""
    query = select(UploadedRow.digest, UploadedRow.shown_at).where(UploadedRow.submission == identifier)
    return {Digest(digest): shown_at for digest, shown_at in session.exec(query)}


def counts_on(session: Session, digest: Digest) -> bool:
    """Whether any open submission counts on a blob."""
    return session.exec(select(UploadedRow.digest).where(UploadedRow.digest == digest).limit(1)).first() is not None


def accept(session: Session, identifier: str) -> None:
    """It is in the ledger, on account of which its blobs stay from now on."""
    _set_state(session, identifier, "accepted")
    _count_on_nothing(session, identifier)


def stale(session: Session, before: str) -> list[Draft]:
    """What was opened before a moment (RFC 3339) and of which no file was shown since. Uploads under way are not seen here."""
    quiet = (
        ~select(UploadedRow.digest)
        .where(UploadedRow.submission == DraftRow.id, UploadedRow.shown_at >= before)
        .exists()
    )
    query = select(DraftRow).where(DraftRow.opened_at < before, col(DraftRow.state).in_(("open", "rejected")), quiet)
    return [Draft.of(row) for row in session.exec(query.order_by(col(DraftRow.opened_at)))]


def drop(session: Session, draft: Draft, before: str) -> None:
    """It counts on nothing any more, unless it was opened again or a file of it was shown meanwhile."""
    row = session.get(DraftRow, draft.id, with_for_update=True)
    shown = max(counted(session, draft.id).values(), default="")
    if row is not None and row.state in ("open", "rejected") and max(row.opened_at, shown) < before:
        row.state = "dropped"
        session.add(row)
        _count_on_nothing(session, draft.id)


def dropped(session: Session) -> list[Draft]:
    """Those whose files are to be deleted."""
    return [Draft.of(row) for row in session.exec(select(DraftRow).where(DraftRow.state == "dropped"))]


def forget(session: Session, identifier: str) -> bool:
    """Remove a dropped one for good; False when it was opened again meanwhile."""
    row = session.get(DraftRow, identifier, with_for_update=True)
    if row is None or row.state != "dropped":
        return False
    session.delete(row)
    session.exec(delete(FindingRow).where(col(FindingRow.submission) == identifier))
    return True


def known(session: Session) -> set[str]:
    """Identifiers of all that may still be uploaded to."""
    return set(session.exec(select(DraftRow.id).where(col(DraftRow.state).not_in(("accepted", "dropped")))))


def _set_state(session: Session, identifier: str, state: str) -> None:
    row = session.get(DraftRow, identifier)
    if row is not None:
        row.state = state
        session.add(row)


def _count_on_nothing(session: Session, identifier: str) -> None:
    session.exec(delete(UploadedRow).where(col(UploadedRow.submission) == identifier))
