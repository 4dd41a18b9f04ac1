"""Ledger entries of kind `evaluation` as rows, and who may read their per-item logs: whoever may read the suite."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session

from hub.evaluation.store import find
from hub.evaluation.tables import EvaluationRow
from hub.ledger.entries import Entry
from hub.ledger.grants import EVERYONE, grant, member_audience
from hub.ledger.journal import Journal
from hub.submissions import catalogue
from protos.documents.evaluations import Evaluation
from protos.documents.statements import Claimed
from trust.errors import Conflict


def register(journal: Journal) -> None:
    journal.register("evaluation", project=_project, check=_check)


def _check(session: Session, claimed: Claimed) -> None:
    claim = cast(Evaluation, claimed.claim)
    if find(session, claim.model, claim.suite):
        raise Conflict(f"{claim.model} is evaluated by {claim.suite} already.")


def _project(session: Session, entry: Entry) -> None:
    claim = cast(Evaluation, entry.claim)
    session.add(
        EvaluationRow(
            id=entry.id,
            index=entry.index,
            model=claim.model,
            suite=claim.suite,
            scores=[score.model_dump(mode="json") for score in claim.scores],
            failure=claim.failure,
            samples=claim.samples or "",
            seconds=claim.seconds,
            recorded_at=entry.time,
        )
    )
    if claim.samples:
        suite = catalogue.get(session, claim.suite)
        grant(session, claim.samples, EVERYONE if suite.visibility == "members" else member_audience(suite.member))
