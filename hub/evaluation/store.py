"""Evaluations that are recorded, and the pairs that wait for one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from hub.evaluation.tables import EvaluationRow
from hub.models import registry
from hub.models.registry import ModelRow
from hub.submissions import catalogue
from hub.submissions.catalogue import Accepted
from protos.documents.base import FileEntry
from protos.documents.evaluations import TaskScore
from trust.errors import NotFound


def find(session: Session, model: str, suite: str) -> EvaluationRow | None:
    query = select(EvaluationRow).where(EvaluationRow.model == model, EvaluationRow.suite == suite)
    return session.exec(query).first()


def get(session: Session, evaluation: str) -> EvaluationRow:
    """Raises `NotFound`."""
    row = session.get(EvaluationRow, evaluation)
    if row is None:
        raise NotFound(f"There is no evaluation {evaluation[:80]!r}.", "See `coalition eval list`.")
    return row


def recorded(session: Session) -> Sequence[EvaluationRow]:
    return session.exec(select(EvaluationRow).order_by(col(EvaluationRow.index))).all()


def waiting(session: Session) -> list[tuple[ModelRow, list[Accepted[FileEntry]]]]:
    """Models with the suites that they were not evaluated by, oldest model first."""
    done = {(row.model, row.suite) for row in recorded(session)}
    suites = catalogue.suites(session)
    pairs = [
        (model, [suite for suite in suites if (model.id, suite.id) not in done])
        for model in registry.all_models(session)
    ]
    return [(model, lacking) for model, lacking in pairs if lacking]


def scores(row: EvaluationRow) -> list[TaskScore]:
    return [TaskScore.read(score) for score in row.scores]
