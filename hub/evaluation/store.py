"""Evaluations that are recorded, and the pairs that wait for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlmodel import Session, col, select

from hub.evaluation.tables import EvaluationRow
from hub.models import registry
from hub.models.registry import ModelRow
from hub.submissions import catalogue
from hub.submissions.catalogue import Accepted
from protos.documents.base import FileEntry
from protos.documents.evaluations import TaskScore
from trust.digests import Digest, hex_of
from trust.errors import NotFound

Suite = Accepted[FileEntry]


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
    """Every evaluation, oldest first."""
    return session.exec(select(EvaluationRow).order_by(col(EvaluationRow.index))).all()


def secret_logs(session: Session) -> set[Digest]:
    """Per-item logs of sealed suites, which lie encrypted: all but those that are another suite's as well."""
    sealed = {suite.id for suite in catalogue.suites(session) if suite.visibility == "sealed"}
    logs = [(Digest(row.samples), row.suite in sealed) for row in recorded(session) if row.samples]
    return {log for log, secret in logs if secret} - {log for log, secret in logs if not secret}


def current_suites(session: Session, size: int | None = None) -> dict[str, Suite]:
    """By identifier: the last submitted version of every member's suites, oldest first. Older ones are history, and one that a
    stolen key signed is none.

    With `size`, as the ledger's first entries have it.
    """
    suites = [each for each in catalogue.suites(session, size) if not _quarantined(each, size)]
    newest = {(suite.member, suite.name): suite for suite in suites}
    return {suite.id: suite for suite in newest.values()}


def _quarantined(suite: Suite, size: int | None) -> bool:
    index = suite.quarantined_index
    return index is not None and (size is None or index < size)


def labels(suites: Sequence[Suite]) -> dict[str, str]:
    """What to call each suite: its name, with the member's in front where two members chose the same."""
    members: dict[str, set[str]] = defaultdict(set)
    for suite in suites:
        members[suite.name].add(suite.member)
    return {s.id: s.name if len(members[s.name]) == 1 else f"{s.member}:{s.name}" for s in suites}


def reference(suite: Suite) -> str:
    """`member/suite@digest`: no other suite's, whatever it calls itself."""
    return f"{suite.member}/{suite.name}@{hex_of(suite.payload)[:12]}"


def waiting(session: Session) -> list[tuple[ModelRow, list[Suite]]]:
    """Models with the current suites that they were not evaluated by, oldest model first."""
    done = {(row.model, row.suite) for row in recorded(session)}
    suites = [suite for suite in current_suites(session).values() if suite.stands]
    pairs = [
        (model, [suite for suite in suites if (model.id, suite.id) not in done])
        for model in registry.all_models(session)
    ]
    return [(model, lacking) for model, lacking in pairs if lacking]


def scores(row: EvaluationRow) -> list[TaskScore]:
    return [TaskScore.read(score) for score in row.scores]
