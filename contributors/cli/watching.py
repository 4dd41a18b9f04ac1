"""Following a run or campaign live, in a terminal or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from contributors.cli import live
from contributors.cli.terminal import as_dict, err, plain, say

if TYPE_CHECKING:
    from protos.coalition.v1 import common_pb2


def follow(events: Iterable[common_pb2.ProgressEvent], steps: int, as_json: bool) -> None:
    """Show events until the last; exit code 1 when what was watched failed."""
    _end(_print_lines(events) if as_json else _show(events, steps))


def follow_run(
    events: Iterable[common_pb2.ProgressEvent], steps: int, nodes: Callable[[], Sequence[str]], as_json: bool
) -> None:
    """`follow`, for a base run: losses, speed and time left as they change, on which `nodes`."""
    _end(_print_lines(events) if as_json else live.show(events, steps, nodes))


def _end(last: common_pb2.ProgressEvent | None) -> None:
    if last is not None and last.phase == "failed":
        raise typer.Exit(1)


def _print_lines(events: Iterable[common_pb2.ProgressEvent]) -> common_pb2.ProgressEvent | None:
    last = None
    for last in events:
        typer.echo(json.dumps(as_dict(last)))
    return last


def _show(events: Iterable[common_pb2.ProgressEvent], steps: int) -> common_pb2.ProgressEvent | None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    last = None
    what, figures = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[figures]}", markup=False)
    columns = (what, BarColumn(), figures, TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("waiting", total=steps or None, figures="")
        for last in events:
            if last.message:
                say((last.time[11:19], "dim"), f" {last.phase}: {last.message}")
            progress.update(task, description=plain(last.phase))
            if last.metrics:
                latest = {metric.name: metric.value for metric in last.metrics}
                step = max(metric.step for metric in last.metrics)
                values = "  ".join(f"{plain(name)} {value:.4g}" for name, value in latest.items())
                progress.update(task, completed=step, figures=f"{step}/{steps or '?'}  {values}")
    return last
