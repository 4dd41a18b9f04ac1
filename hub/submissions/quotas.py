"""How much of the hub a member may take: reserved when a submission is opened, given back when its draft is dropped."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session, col, func, select

from hub.ledger import grants
from hub.submissions.tables import DraftRow, SubmissionRow
from protos.documents import statements
from protos.documents.placing import AT_HOME
from protos.documents.submissions import Submission
from trust.errors import Conflict


@dataclass(frozen=True)
class Quota:
    """Of each member: `size` in bytes, accepted and reserved together, and submissions that are `open` at once.

    What was rejected counts by its bytes until its files are dropped.
    """

    size: int = 1 << 40
    open: int = 20

    def reserve(self, session: Session, member: str, draft: str, size: int) -> None:
        """Raises `Conflict` when a new draft of `size` bytes does not fit; the draft itself is not counted twice.

        Call it in the transaction that adds the draft.
        """
        query = select(DraftRow).where(DraftRow.member == member, DraftRow.id != draft)
        drafts = session.exec(query.where(col(DraftRow.state).not_in(("accepted", "dropped")))).all()
        under_way = sum(row.state != "rejected" for row in drafts)
        if under_way >= self.open:
            raise Conflict(f"You have {under_way} open submissions.", "Commit one, or wait: old ones are dropped.")
        here = (SubmissionRow.member == member, col(SubmissionRow.category).not_in(AT_HOME))
        stored = session.exec(select(func.sum(SubmissionRow.size)).where(*here)).one()
        taken = int(stored or 0) - _purged(session, member) + sum(size_of(row.envelope) for row in drafts)
        if taken + size > self.size:
            raise Conflict(
                f"{size} bytes do not fit: {taken} of your {self.size} bytes are taken.", "Ask the core team for more."
            )


def _purged(session: Session, member: str) -> int:
    """Bytes of the member's submissions of which nothing has to be here any more."""
    withdrawn = select(SubmissionRow).where(
        SubmissionRow.member == member, col(SubmissionRow.withdrawn_index).is_not(None)
    )
    sent = (row for row in session.exec(withdrawn) if row.category not in AT_HOME)
    return sum(row.size for row in sent if grants.purged_of(session, row.id) and not grants.held_for(session, row.id))


def size_of(envelope: bytes) -> int:
    """The bytes that a manifest announces to come to the hub."""
    claim = statements.read(envelope).claim
    return sum(file.size for file in claim.sent) if isinstance(claim, Submission) else 0


DEFAULT = Quota()
