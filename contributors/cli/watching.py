"""Following a run or campaign live, in a terminal or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from contributors.cli.terminal import as_dict, err, out
from protos.coalition.v1 import common_pb2


def follow(events: Iterable[common_pb2.ProgressEvent], steps: int, as_json: bool) -> None:
    """Show events until the last; exit code 1 when what was watched failed."""
    last = common_pb2.ProgressEvent()
    if as_json:
        for last in events:
            typer.echo(json.dumps(as_dict(last)))
    else:
        last = _show(events, steps) or last
    if last.phase == "failed":
        raise typer.Exit(1)


def _show(events: Iterable[common_pb2.ProgressEvent], steps: int) -> common_pb2.ProgressEvent | None:
    last = None
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("waiting", total=steps or None, figures="")
        for last in events:
            if last.message:
                out.print(f"[dim]{last.time[11:19]}[/] {last.phase}: {last.message}", highlight=False)
            progress.update(task, description=last.phase)
            if last.metrics:
                latest = {metric.name: metric.value for metric in last.metrics}
                step = max(metric.step for metric in last.metrics)
                figures = "  ".join(f"{name} {value:.4g}" for name, value in latest.items())
                progress.update(task, completed=step, figures=f"{step}/{steps or '?'}  {figures}")
    return last
