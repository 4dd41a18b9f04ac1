"""The ranking: models in order, with the ranks that they may have and the interval of what they are worth in all."""

from __future__ import annotations

from typing import Any

from dashboards.rows.formats import rank
from protos.coalition.v1 import evaluation_pb2


def ranked(ranking: evaluation_pb2.Ranking) -> list[dict[str, Any]]:
    """Table rows, the best first."""
    return [
        {
            "rank": rank(each.first, each.last),
            "model": f"models?model={each.model}",
            "aggregate": each.value,
            "interval": f"{each.low:.3f} to {each.high:.3f}",
        }
        for each in ranking.models
    ]


def points(ranking: evaluation_pb2.Ranking) -> list[dict[str, Any]]:
    """Per model, for a chart: the aggregate between its bounds, named with its rank."""
    return [
        {
            "model": f"{rank(each.first, each.last)}  {each.model}",
            "score": each.value,
            "low": each.low,
            "high": each.high,
        }
        for each in ranking.models
    ]


def left_out(ranking: evaluation_pb2.Ranking) -> str:
    """Who is not ranked, and why: a sentence each; empty for nobody."""
    return " ".join(f"{each.what}: {each.why}" for each in ranking.left_out)
