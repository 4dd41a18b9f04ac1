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
from protos.documents import interests
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
    models = registry.all_models(session)
    rows = {
        model.id: evaluation_pb2.LeaderboardRow(model=model.id, parent=model.parent, origin=model.origin)
        for model in models
        if model.index < final
    }
    shares = interests.shares(registry.made(model) for model in models)
    pending = 0
    for evaluation in store.recorded(session):
        if evaluation.index >= final:
            pending += 1
            continue
        if (suite := suites.get(evaluation.suite)) is None:
            continue
        for score in store.scores(evaluation):
            key = f"{labels[suite.id]}/{score.task}"
            columns.setdefault(key, _column(key, labels[suite.id], suite, score))
            row, share = rows[evaluation.model], shares[evaluation.model]
            row.scores[key].CopyFrom(score_message(score))
            if part := share.get(suite.member, 0.0):
                row.author_shares[key] = part
            if not interests.ranked(share, suite.member):
                row.unranked.append(key)
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


def _column(key: str, label: str, suite: store.Suite, score: TaskScore) -> evaluation_pb2.LeaderboardColumn:
    return evaluation_pb2.LeaderboardColumn(
        key=key,
        suite=label,
        domain=suite.domain,
        member=suite.member,
        reference=store.reference(suite),
        metric=score.metric,
        higher_is_better=score.metric not in LOWER_IS_BETTER,
        baseline=math.nan if score.baseline is None else score.baseline,
    )
