"""Ledger entries of kind `evaluation` as rows, and who may read their per-item logs: whoever may read the suite."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
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
from protos.documents.base import FileEntry
from protos.documents.evaluations import Evaluation
from protos.documents.statements import Claimed
from trust.errors import Conflict, NotFound


def register(journal: Journal) -> None:
    journal.register("evaluation", project=_project, check=_check)


def _check(session: Session, claimed: Claimed) -> None:
    claim = cast(Evaluation, claimed.claim)
    if find(session, claim.model, claim.suite):
        raise Conflict(f"{claim.model} is evaluated by {claim.suite} already.")


def _project(session: Session, entry: Entry) -> None:
    claim = cast(Evaluation, entry.claim)
    suite = catalogue.get(session, claim.suite)
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
            work=_work(session, claim, suite.files),
            same_as=claim.same_as or "",
            node=claim.node or "",
        )
    )
    if claim.samples:
        grant(session, claim.samples, EVERYONE if suite.visibility == "members" else member_audience(suite.member))


def _work(session: Session, claim: Evaluation, files: Sequence[FileEntry]) -> str:
    """What was computed, to be reused: nothing where there are no scores, or no such model, as a statement may say anything."""
    with suppress(NotFound):
        if claim.scores:
            return reuse.work(registry.files(registry.get(session, claim.model)), files, claim.harness)
    return ""
