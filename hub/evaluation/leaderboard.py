"""Models by suites: rows and columns from what is recorded, and nothing else."""

from __future__ import annotations

import math

from sqlmodel import Session

from hub.evaluation import store
from hub.ledger.rows import count as recorded_size
from hub.models import registry
from hub.models.card import ScoreLine
from learning.scoring import LOWER_IS_BETTER
from protos.coalition.v1 import evaluation_pb2
from protos.documents.evaluations import TaskScore

EVERYTHING = 1 << 62
"""More entries than any ledger has."""


def leaderboard(session: Session, final: int = EVERYTHING) -> evaluation_pb2.Leaderboard:
    """A row per model version, oldest first; a column per current suite and task, of the scores that exist.

    A function of the ledger's first `final` entries, so that anyone who has those comes to the same.
    """
    suites = store.current_suites(session, final)
    labels = store.labels(list(suites.values()))
    columns: dict[str, evaluation_pb2.LeaderboardColumn] = {}
    rows = {
        model.id: evaluation_pb2.LeaderboardRow(model=model.id, parent=model.parent, origin=model.origin)
        for model in registry.all_models(session)
        if model.index < final
    }
    pending = 0
    for evaluation in store.recorded(session):
        if evaluation.index >= final:
            pending += 1
            continue
        if (suite := suites.get(evaluation.suite)) is None:
            continue
        for score in store.scores(evaluation):
            key = f"{labels[suite.id]}/{score.task}"
            columns.setdefault(key, _column(key, labels[suite.id], suite.domain, score))
            rows[evaluation.model].scores[key].CopyFrom(score_message(score))
    waiting = sum(len(lacking) for _, lacking in store.waiting(session))
    ordered = [columns[key] for key in sorted(columns)]
    return evaluation_pb2.Leaderboard(
        columns=ordered,
        rows=list(rows.values()),
        ledger_size=min(final, recorded_size(session)),
        waiting=waiting,
        pending=pending,
    )


def score_message(score: TaskScore) -> evaluation_pb2.Score:
    return evaluation_pb2.Score(
        task=score.task,
        metric=score.metric,
        value=score.value,
        standard_error=score.standard_error,
        items=score.items,
        higher_is_better=score.metric not in LOWER_IS_BETTER,
        baseline=math.nan if score.baseline is None else score.baseline,
    )


def scores_of(session: Session, model: str, final: int = EVERYTHING) -> list[ScoreLine]:
    """What a model got in the current suites, for its card: what is final, as on the leaderboard."""
    suites = store.current_suites(session, final)
    labels = store.labels(list(suites.values()))
    return [
        ScoreLine(
            suite=labels[row.suite],
            suite_payload=suites[row.suite].payload,
            evaluation=row.id,
            ledger_entry=row.index,
            samples=row.samples,
            score=score,
        )
        for row in store.recorded(session)
        if row.model == model and row.suite in suites and row.index < final
        for score in store.scores(row)
    ]


def _column(key: str, suite: str, domain: str, score: TaskScore) -> evaluation_pb2.LeaderboardColumn:
    return evaluation_pb2.LeaderboardColumn(
        key=key,
        suite=suite,
        domain=domain,
        metric=score.metric,
        higher_is_better=score.metric not in LOWER_IS_BETTER,
        baseline=math.nan if score.baseline is None else score.baseline,
    )
