"""What a delegate may open: what it could commit. A draft takes the member's space, so it counts on the budget at once."""

from __future__ import annotations

from sqlmodel import Session, col, select

from hub.members.directory import standing_of
from hub.submissions.drafts import Draft
from hub.submissions.tables import DraftRow
from protos.documents.base import now
from protos.documents.statements import Claimed
from trust.errors import Denied


def check(session: Session, claimed: Claimed, index: int) -> None:
    """As the ledger would judge a manifest now, as entry `index`. Raises `Denied`."""
    claim = claimed.claim
    standing = standing_of(session, claim.signer)
    standing.allow(claimed.kind, claim, claimed.proved, index, now())
    if claim.delegation:
        delegate = standing.delegate(claim.delegation)
        under_way = select(DraftRow.id).where(
            DraftRow.delegation == delegate.id,
            DraftRow.id != claimed.id,
            col(DraftRow.state).in_(("open", "screening")),
        )
        if delegate.used + len(session.exec(under_way).all()) >= delegate.budget:
            raise Denied(
                f"The budget of {delegate.id} is {delegate.budget} statements, open submissions among them.",
                "Commit what is open first.",
            )


def is_for(draft: Draft, delegation: str) -> bool:
    """Whether a caller may go on with it: the member itself (no `delegation`) with all, a delegate with what it opened."""
    return not delegation or draft.claim.delegation == delegation
