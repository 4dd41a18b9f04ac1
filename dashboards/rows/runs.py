"""Base runs: their list, loss curves, checkpoints and the nodes that do the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.rows.formats import moment, size
from protos.coalition.v1 import common_pb2, training_pb2

ENDED = frozenset({"finished", "failed", "cancelled"})
LOSS = "loss"


def newest_first(runs: Sequence[training_pb2.Run]) -> list[training_pb2.Run]:
    return sorted(runs, key=lambda run: run.launched_at, reverse=True)


def run_rows(runs: Sequence[training_pb2.Run]) -> list[dict[str, Any]]:
    """The list of runs, newest first; `done` in percent."""
    return [
        {
            "run": f"runs?run={run.id}",
            "name": run.name,
            "state": run.state,
            "done": 100 * run.step / run.steps if run.steps else 0.0,
            "step": f"{run.step} of {run.steps}",
            "model": run.model,
            "launched by": run.launched_by,
            "launched": moment(run.launched_at),
            "reason": run.reason,
        }
        for run in newest_first(runs)
    ]


def curves(metrics: Sequence[common_pb2.Metric]) -> dict[str, list[tuple[int, float]]]:
    """Metric name -> (step, value) in order of steps. A step measured again after a resume keeps its newest value."""
    found: dict[str, dict[int, float]] = {}
    for metric in metrics:
        found.setdefault(metric.name, {})[metric.step] = metric.value
    return {name: sorted(values.items()) for name, values in found.items()}


def latest(metrics: Sequence[common_pb2.Metric]) -> dict[str, float]:
    """Metric name -> its value at the last step."""
    return {name: points[-1][1] for name, points in curves(metrics).items()}


def checkpoint_rows(run: training_pb2.Run) -> list[dict[str, Any]]:
    """Checkpoints that the run can resume from, newest first."""
    return [
        {"step": point.step, "loss": point.loss, "recorded": moment(point.recorded_at), "weights": point.digest}
        for point in sorted(run.checkpoints, key=lambda point: -point.step)
    ]


def node_rows(nodes: Sequence[training_pb2.Node]) -> list[dict[str, Any]]:
    """Attached nodes first."""
    return [
        {
            "node": node.name,
            "state": _state(node),
            "run": node.run,
            "cores": node.inventory.cores or None,
            "memory": size(node.inventory.memory) if node.inventory.memory else "",
            "accelerators": _accelerators(node),
            "last seen": moment(node.last_seen),
        }
        for node in sorted(nodes, key=lambda node: (not node.attached, node.name))
    ]


def _state(node: training_pb2.Node) -> str:
    """What it does; why it is given nothing, where it is ill."""
    if not node.attached:
        return "away"
    if node.run:
        return "working"
    return f"ill: {node.inventory.health}" if node.inventory.health else "free"


def _accelerators(node: training_pb2.Node) -> str:
    """Kinds; "none" for a node that has said what it has, nothing for one that has not."""
    known = "none" if node.inventory.cores else ""
    return ", ".join(item.kind for item in node.inventory.accelerators) or known
