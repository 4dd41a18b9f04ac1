"""What screening found, kept for the submitter and the core team; and how often a member may ask for it in a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlmodel import Session, col, delete, select

from hub.submissions.screening.findings import Finding, Severity
from hub.submissions.tables import FindingRow, ScreeningRow
from protos.documents.base import now, rfc3339
from trust.errors import Conflict

TELLING = 20
"""Tries that a screening counts as which tells of a text that its submitter may not read."""


def read(session: Session, submission: str) -> list[Finding]:
    rows = session.exec(select(FindingRow).where(FindingRow.submission == submission).order_by(col(FindingRow.id)))
    return [
        Finding(
            rule=row.rule,
            severity=_severity(row.severity),
            message=row.message,
            count=row.count,
            total=row.total,
            examples=tuple(row.examples),
        )
        for row in rows
    ]


def write(session: Session, submission: str, findings: Sequence[Finding]) -> None:
    """In the place of what was found before."""
    session.exec(delete(FindingRow).where(col(FindingRow.submission) == submission))
    for finding in findings:
        values = finding.model_dump(exclude={"examples"})
        session.add(FindingRow(submission=submission, examples=list(finding.examples), **values))


def count_try(session: Session, member: str, allowed: int) -> None:
    """Findings tell a little about what the hub holds: nobody may ask without end.

    Raises `Conflict` when `allowed` tries of a day are used up.
    """
    since = rfc3339(datetime.now(UTC) - timedelta(days=1))
    session.exec(delete(ScreeningRow).where(col(ScreeningRow.started_at) < since))
    tries = session.exec(select(ScreeningRow.id).where(ScreeningRow.member == member)).all()
    if len(tries) >= allowed:
        raise Conflict(
            f"Your {allowed} screenings of a day are used up; one that tells of what you may not read counts as "
            f"{TELLING}.",
            "Commit it tomorrow.",
        )
    session.add(ScreeningRow(member=member, started_at=now()))


def tells(findings: Sequence[Finding]) -> bool:
    """Whether these say something of a text that the submitter may not read."""
    return any(each.rule == "contamination" and each.severity != "info" and not each.examples for each in findings)


def charge(session: Session, member: str) -> None:
    """An answer about others' texts costs more than one try: whoever bisects needs many of them."""
    session.add_all(ScreeningRow(member=member, started_at=now()) for _ in range(TELLING - 1))


def _severity(text: str) -> Severity:
    return "reject" if text == "reject" else "warning" if text == "warning" else "info"
