"""Base runs: their list, loss curves, checkpoints and the nodes that do the work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.rows.formats import moment, size
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.runs import RunSpec

Points = list[tuple[int, float]]
"""(step, value), in order of steps."""

ENDED = frozenset({"finished", "failed", "cancelled"})
LOSS, HELD_OUT = "loss", "held_out_loss"
SPEED, SHARE, RATE = "tokens_per_second", "mfu", "learning_rate"
_SAMPLE = "sample at step "


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


def curves(metrics: Sequence[common_pb2.Metric]) -> dict[str, Points]:
    """Metric name -> (step, value) in order of steps. A step measured again after a resume keeps its newest value."""
    found: dict[str, dict[int, float]] = {}
    for metric in metrics:
        found.setdefault(metric.name, {})[metric.step] = metric.value
    return {name: sorted(values.items()) for name, values in found.items()}


def latest(metrics: Sequence[common_pb2.Metric]) -> dict[str, float]:
    """Metric name -> its value at the last step."""
    return {name: points[-1][1] for name, points in curves(metrics).items()}


def losses(found: Mapping[str, Points]) -> list[tuple[str, int, float]]:
    """(text, step, loss) of what it learns from and of what is held out, as far as each was measured."""
    named = (("learned from", LOSS), ("held out", HELD_OUT))
    return [(text, step, value) for text, name in named for step, value in found.get(name, [])]


def by_domain(found: Mapping[str, Points]) -> list[tuple[str, int, float]]:
    """(domain, step, loss); of the held-out texts where there are some, else of what it learns from."""
    for start in (f"{HELD_OUT}/", f"{LOSS}/"):
        domains = {name.removeprefix(start): points for name, points in found.items() if name.startswith(start)}
        if domains:
            return [(domain, step, value) for domain, points in sorted(domains.items()) for step, value in points]
    return []


def others(found: Mapping[str, Points]) -> dict[str, Points]:
    """The measurements that are no loss."""
    return {name: points for name, points in sorted(found.items()) if name.split("/")[0] not in (LOSS, HELD_OUT)}


def seconds_left(run: training_pb2.Run, tokens_per_second: float) -> float | None:
    """Until the last step, at the present speed; None where that cannot be known."""
    if run.state in ENDED or not run.steps or not tokens_per_second:
        return None
    tokens = RunSpec.read(json.loads(run.spec)).tokens
    return tokens * (run.steps - run.step) / run.steps / tokens_per_second


def told_rows(run: training_pb2.Run) -> list[dict[str, Any]]:
    """What was told of the run, newest first, but what the model wrote."""
    return [
        {"time": moment(event.time), "phase": event.phase, "message": event.message}
        for event in reversed(run.told)
        if not event.message.startswith(_SAMPLE)
    ]


def samples(run: training_pb2.Run) -> list[tuple[str, str]]:
    """What the model wrote, newest first, as (step, text)."""
    told = [event.message for event in reversed(run.told) if event.message.startswith(_SAMPLE)]
    return [(step, text) for step, _, text in (each.removeprefix(_SAMPLE).partition(": ") for each in told)]


def checkpoint_rows(run: training_pb2.Run) -> list[dict[str, Any]]:
    """Checkpoints that the run can resume from, newest first."""
    return [
        {
            "step": point.step,
            "loss": point.loss,
            "places": point.places,
            "recorded": moment(point.recorded_at),
            "weights": point.digest,
        }
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
