"""Ledger entries of kind `evaluation` as rows, and who may read their per-item logs: whoever may read the suite."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session

from hub.evaluation import reuse
from hub.evaluation.store import find
from hub.evaluation.tables import EvaluationRow
from hub.ledger.entries import Entry
from hub.ledger.grants import EVERYONE, grant, member_audience
from hub.ledger.journal import Journal
from hub.models import registry
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
    suite = catalogue.get(session, claim.suite)
    work = reuse.work(registry.files(registry.get(session, claim.model)), suite.files, claim.harness)
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
            work=work if claim.scores else "",
            same_as=claim.same_as or "",
            node=claim.node or "",
        )
    )
    if claim.samples:
        grant(session, claim.samples, EVERYONE if suite.visibility == "members" else member_audience(suite.member))
