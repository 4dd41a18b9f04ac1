"""Ledger entries of kind `dataset`, `suite` and `reward` as rows, and who may read their blobs."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session, col, select

from hub.ledger import grants
from hub.ledger.entries import Entry
from hub.ledger.grants import EVERYONE, NODES, grant, member_audience, withdraw
from hub.ledger.journal import Journal
from hub.members import directory
from hub.submissions.tables import SubmissionRow
from protos.documents.members import Revocation
from protos.documents.placing import FOR_MEMBERS
from protos.documents.statements import Claimed
from protos.documents.submissions import Dataset, Purge, Submission, Suite, SuiteVisibility, Withdrawal
from trust.digests import Digest
from trust.errors import Conflict, Denied, NotFound


def register(journal: Journal) -> None:
    for kind in ("dataset", "suite", "reward"):
        journal.register(kind, project=_project, check=_check_name)
    journal.register("withdrawal", project=_withdraw, check=_check_withdrawal)
    journal.register("purge", project=_purge, check=_check_purge)
    journal.register("revocation", project=_quarantine)


def _check_name(session: Session, claimed: Claimed) -> None:
    """A member's name and version stand for one content."""
    claim = cast(Submission, claimed.claim)
    version = claim.version if isinstance(claim, Suite) else ""
    query = select(SubmissionRow).where(
        SubmissionRow.kind == claimed.kind,
        SubmissionRow.member == claim.signer,
        SubmissionRow.name == claim.name,
        SubmissionRow.version == version,
    )
    if row := session.exec(query).first():
        raise Conflict(
            f"You submitted the {claimed.kind} {claim.name} {version} before, as {row.id}.".replace("  ", " "),
            "Give it another name" + (" or version." if version else "."),
        )


def _project(session: Session, entry: Entry) -> None:
    claim = cast(Submission, entry.claim)
    session.add(
        SubmissionRow(
            id=entry.id,
            index=entry.index,
            payload=entry.payload,
            kind=entry.kind,
            name=claim.name,
            domain=claim.domain,
            licence=claim.licence,
            member=claim.signer,
            visibility=_visibility(claim),
            category=claim.category if isinstance(claim, Dataset) else "",
            jurisdiction=list(claim.jurisdiction) if isinstance(claim, Dataset) else [],
            version=claim.version if isinstance(claim, Suite) else "",
            rows=claim.rows if isinstance(claim, Dataset) else 0,
            size=sum(file.size for file in claim.files),
            files=[file.model_dump(mode="json") for file in claim.files],
            recorded_at=entry.time,
            signed_with=entry.key,
        )
    )
    visibility = _visibility(claim)
    for file in claim.sent:
        grant(session, file.digest, EVERYONE if visibility == "members" else member_audience(claim.signer), entry.id)
        if visibility != "sealed":
            grant(session, file.digest, NODES, entry.id)


def _check_withdrawal(session: Session, claimed: Claimed) -> None:
    """By its owner or the core team, once."""
    claim = cast(Withdrawal, claimed.claim)
    row = session.get(SubmissionRow, claim.submission)
    if row is None:
        raise NotFound(f"There is no submission {claim.submission}.", "See `coalition data list`.")
    if claim.signer != row.member and directory.get(session, claim.signer).role != "core":
        raise Denied(f"{row.id} is {row.member}'s: only its owner may withdraw it.")
    if row.withdrawn_at:
        raise Conflict(f"{row.id} was withdrawn at {row.withdrawn_at} already.")


def _withdraw(session: Session, entry: Entry) -> None:
    claim = cast(Withdrawal, entry.claim)
    row = session.get_one(SubmissionRow, claim.submission)
    row.withdrawn_at, row.withdrawn_index = entry.time, entry.index
    row.withdrawn_by, row.withdrawn_because = claim.signer, claim.reason
    session.add(row)
    withdraw(session, row.id)


def _quarantine(session: Session, entry: Entry) -> None:
    """What a key signed since it was stolen, as became known now, is not used any more."""
    standing = directory.standing_of(session, cast(Revocation, entry.claim).member)
    query = select(SubmissionRow).where(
        SubmissionRow.member == standing.member, col(SubmissionRow.quarantined_index).is_(None)
    )
    for row in session.exec(query):
        since = standing.compromised_since(row.signed_with)
        if since is not None and row.index >= since:
            row.quarantined_index = entry.index
            session.add(row)


def _check_purge(session: Session, claimed: Claimed) -> None:
    """Of a withdrawn submission, what nothing that stands names: as auditors judge it (`protos.documents.holdings`)."""
    claim = cast(Purge, claimed.claim)
    row = session.get(SubmissionRow, claim.submission)
    if row is None or not row.withdrawn_at:
        raise Conflict(f"{claim.submission} was not withdrawn.")
    held = set(grants.held_for(session, row.id))
    for digest in map(Digest, claim.blobs):
        if digest not in held:
            raise Conflict(f"{digest} is no blob of {row.id}, or was purged already.")
        if not all(ground.withdrawn for ground in grants.grounds(session, digest)):
            raise Conflict(f"{digest} is named by something that stands.")


def _purge(session: Session, entry: Entry) -> None:
    grants.purge(session, cast(Purge, entry.claim).blobs, entry.index)


def _visibility(claim: Submission) -> SuiteVisibility:
    if isinstance(claim, Suite):
        return claim.visibility
    return "hub" if isinstance(claim, Dataset) and claim.category not in FOR_MEMBERS else "members"
