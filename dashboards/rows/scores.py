"""The leaderboard: models x tasks, and how each family of models moved from its base through its rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.rows.formats import made_by, natural, optional, score
from protos.coalition.v1 import evaluation_pb2

UP, DOWN = "↑", "↓"
BEST = "★"
OWN = "†"
"""The suite's author supplied half or more of a training of the model: shown, not ranked."""
SAME = 0.0005
"""Changes that show as 0.000."""
CONFIDENCE = 1.96
"""Standard errors on each side of a 95 % interval."""


@dataclass(frozen=True)
class Progress:
    """One task along a family: `first` and `last` are the ends of `trend`; a positive `gain` is better."""

    key: str
    domain: str
    metric: str
    rising: bool
    chance: float | None
    base_model: str
    last_model: str
    first: evaluation_pb2.Score
    last: evaluation_pb2.Score
    trend: tuple[float, ...]

    @property
    def change(self) -> float:
        return self.last.value - self.first.value

    @property
    def gain(self) -> float:
        return self.change if self.rising else -self.change


def arrow(rising: bool) -> str:
    """The direction that is better."""
    return UP if rising else DOWN


def metric_name(metric: str) -> str:
    """'bits_per_byte' -> 'bits per byte'."""
    return {"acc": "accuracy", "acc_norm": "norm. accuracy"}.get(metric, metric.replace("_", " "))


def domains(board: evaluation_pb2.Leaderboard) -> list[str]:
    """Every domain that a suite is of, sorted."""
    return sorted({column.domain for column in board.columns})


def columns_of(board: evaluation_pb2.Leaderboard, domain: str | None) -> list[evaluation_pb2.LeaderboardColumn]:
    """The columns of a domain, or all, by domain and name."""
    chosen = [column for column in board.columns if domain in (None, column.domain)]
    return sorted(chosen, key=lambda column: (column.domain, column.key))


def families(board: evaluation_pb2.Leaderboard) -> dict[str, list[evaluation_pb2.LeaderboardRow]]:
    """Base model -> the base and everything made from it, each in natural order; newest base last."""
    parents = {row.model: row.parent for row in board.rows}
    members: dict[str, list[evaluation_pb2.LeaderboardRow]] = {}
    for row in sorted(board.rows, key=lambda row: natural(row.model)):
        members.setdefault(_root(row.model, parents), []).append(row)
    return members


def _root(model: str, parents: dict[str, str]) -> str:
    seen = {model}
    while (parent := parents.get(model, "")) and parent in parents and parent not in seen:
        seen.add(parent)
        model = parent
    return model


def progress(
    columns: Iterable[evaluation_pb2.LeaderboardColumn], family: Sequence[evaluation_pb2.LeaderboardRow]
) -> list[Progress]:
    """Per task, how the family moved; tasks on which no model of it was scored are left out."""
    result = []
    for column in columns:
        scored = [row for row in family if column.key in row.scores]
        if not scored:
            continue
        result.append(
            Progress(
                column.key,
                column.domain,
                column.metric,
                column.higher_is_better,
                optional(column.baseline),
                scored[0].model,
                scored[-1].model,
                scored[0].scores[column.key],
                scored[-1].scores[column.key],
                tuple(row.scores[column.key].value for row in scored),
            )
        )
    return result


def verdict(step: Progress) -> str:
    """Better or worse in words: `slightly` where the change is within twice the errors of its ends; empty without rounds.

    Both ends answered the same items, so the errors of the two scores overstate the error of their difference.
    """
    if len(step.trend) < 2:
        return ""
    if abs(step.change) < SAME:
        return "same"
    noise = 2 * math.hypot(step.first.standard_error, step.last.standard_error)
    word = "better" if step.gain > 0 else "worse"
    return word if abs(step.change) > noise else f"slightly {word}"


def progress_rows(steps: Iterable[Progress]) -> list[dict[str, Any]]:
    """Table rows of `progress`."""
    return [
        {
            "domain": step.domain,
            "task": step.key,
            "metric": f"{metric_name(step.metric)} {arrow(step.rising)}",
            "guessing": step.chance,
            "base": score(step.first.value, step.first.standard_error),
            "latest": score(step.last.value, step.last.standard_error),
            "change": step.change if len(step.trend) > 1 else None,
            "verdict": verdict(step),
            "progress": list(step.trend),
        }
        for step in steps
    ]


def matrix(
    columns: Sequence[evaluation_pb2.LeaderboardColumn], rows: Sequence[evaluation_pb2.LeaderboardRow]
) -> list[dict[str, Any]]:
    """One row per model: its origin and, per column key, its score with the error; a star marks a column's best."""
    best = {column.key: _best(column, rows) for column in columns}
    return [
        {
            "model": f"models?model={row.model}",
            "origin": made_by(row.origin, row.origin),
            **{column.key: _cell(row, column.key, best[column.key]) for column in columns},
        }
        for row in rows
    ]


def _best(column: evaluation_pb2.LeaderboardColumn, rows: Sequence[evaluation_pb2.LeaderboardRow]) -> float | None:
    values = [
        row.scores[column.key].value for row in rows if column.key in row.scores and column.key not in row.unranked
    ]
    if len(values) < 2:
        return None
    return max(values) if column.higher_is_better else min(values)


def _cell(row: evaluation_pb2.LeaderboardRow, key: str, best: float | None) -> str | None:
    if key not in row.scores:
        return None
    found = row.scores[key]
    own = key in row.unranked
    mark = f" {OWN}" if own else f" {BEST}" if found.value == best else ""
    return score(found.value, found.standard_error) + mark


def intervals(key: str, family: Iterable[evaluation_pb2.LeaderboardRow]) -> list[dict[str, Any]]:
    """Per scored model of a family: the score and its 95 % interval."""
    return [
        {
            "model": row.model,
            "score": row.scores[key].value,
            "low": row.scores[key].value - CONFIDENCE * row.scores[key].standard_error,
            "high": row.scores[key].value + CONFIDENCE * row.scores[key].standard_error,
            "items": row.scores[key].items,
        }
        for row in family
        if key in row.scores
    ]


def scores_of_model(evaluations: Iterable[evaluation_pb2.Evaluation]) -> list[dict[str, Any]]:
    """Every score of one model; an evaluation without scores gives one row that says why."""
    rows = []
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.suite_name):
        common = {"evaluation": evaluation.id, "state": evaluation.state, "seconds": evaluation.seconds}
        if not evaluation.scores:
            rows.append({"task": evaluation.suite_name, "note": evaluation.reason, **common})
        for found in evaluation.scores:
            rows.append(
                {
                    "task": f"{evaluation.suite_name}/{found.task}",
                    "metric": f"{metric_name(found.metric)} {arrow(found.higher_is_better)}",
                    "score": score(found.value, found.standard_error),
                    "guessing": optional(found.baseline),
                    "items": found.items,
                    **common,
                }
            )
    return rows
