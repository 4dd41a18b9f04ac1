"""The ranking, computed from the ledger's statements and the per-item logs that everybody may read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from contributors.lineage import Finding
from contributors.standings import Board
from learning.ranking import Answered, Answers, Rank, ranking
from protos.coalition.v1 import evaluation_pb2
from protos.documents import interests

SAME = 1e-6
"""Of a share of the scale: sums in another order, on other processors."""


def ranked(board: Board, answers: Mapping[tuple[str, str], Mapping[str, Answers]]) -> tuple[dict[str, Rank], list[str]]:
    """(each model's rank, the leaderboard's keys that count); `answers` by model and suite, of the logs that we read.

    The suite of whoever made one of the models, to half or more, does not count.
    """
    cells = {place: cell for place, cell in board.cells.items() if board.open[cell.suite]}
    own = {
        cell.suite
        for (model, _), cell in cells.items()
        if not interests.ranked(board.shares.get(model, {}), cell.author)
    }
    answered: dict[str, dict[str, Answered]] = defaultdict(dict)
    keys: dict[str, str] = {}
    for (model, key), cell in cells.items():
        found = answers.get((model, cell.suite), {}).get(cell.score.task)
        if found is not None and cell.suite not in own:
            name = f"{cell.suite}/{cell.score.task}"
            keys[name] = key
            answered[model][name] = Answered(cell.author, cell.suite, cell.score.metric, cell.score.baseline, found)
    ranks, tasks = ranking(answered)
    return ranks, sorted(keys[name] for name in tasks)


def compare_ranking(
    board: Board, answers: Mapping[tuple[str, str], Mapping[str, Answers]], served: evaluation_pb2.Ranking
) -> list[Finding]:
    """Where the hub ranks models otherwise than their logs do."""
    end = int(served.ledger_size)
    ours, tasks = ranked(board, answers)
    if list(served.tasks) != tasks:
        return [(end, f"the hub ranks by {', '.join(served.tasks) or 'nothing'}, the ledger by {', '.join(tasks)}.")]
    told = {each.model: each for each in served.models}
    if told.keys() != ours.keys():
        return [(end, "the hub ranks other models than the ledger.")]
    return [
        (end, f"the hub ranks {model} at {_shown(told[model])}, its logs at {_shown(rank)}.")
        for model, rank in ours.items()
        if not _same(told[model], rank)
    ]


def _same(told: evaluation_pb2.RankedModel, ours: Rank) -> bool:
    values = ((told.value, ours.value), (told.low, ours.low), (told.high, ours.high))
    return (told.first, told.last) == (ours.first, ours.last) and all(abs(a - b) <= SAME for a, b in values)


def _shown(rank: Rank | evaluation_pb2.RankedModel) -> str:
    return f"{rank.first} to {rank.last} with {rank.value:.4f}"
