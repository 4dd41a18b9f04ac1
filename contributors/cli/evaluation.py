"""`coalition eval` and `coalition leaderboard`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contributors.cli.session import connected
from contributors.cli.terminal import (
    Json,
    as_dict,
    print_fields,
    print_json,
    print_messages,
    print_table,
    say,
    transfer,
)
from trust.sentences import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contributors.comparing import Item
    from protos.coalition.v1 import evaluation_pb2
    from protos.documents.evaluations import Sample

SHOWN = 300
"""Characters of a text that an example shows."""

app = typer.Typer(no_args_is_help=True, help="Evaluations of models by suites: list, show, verify, reproduce, compare.")


@app.command("list", epilog="Example: coalition eval list --model tiny-1")
def list_evaluations(
    model: Annotated[str, typer.Option(help="Only of this model.")] = "",
    suite: Annotated[str, typer.Option(help="Only by this suite.")] = "",
    as_json: Json = False,
) -> None:
    """All evaluations, and those still to come."""
    with connected() as hub:
        found = hub.evaluations(model, suite)
    if as_json:
        print_messages(found.evaluations)
        return
    print_table(
        ["*id", "*model", "suite", "state", "scores"],
        [(e.id, e.model, e.suite_name, e.state, _brief(e) or e.reason) for e in found.evaluations],
        "None yet: every model is evaluated with every suite by itself.",
    )


@app.command("show", epilog="Example: coalition eval show eval-1a2b3c4d5e6f")
def show(
    identifier: Annotated[str, typer.Argument(help="For example eval-1a2b3c4d5e6f.")], as_json: Json = False
) -> None:
    """One evaluation in full."""
    with connected() as hub:
        found = hub.evaluation(identifier)
    if as_json:
        print_json(_finite(as_dict(found)))
        return
    print_fields(
        [
            ("id", found.id),
            ("model", found.model),
            ("suite", f"{found.suite_name} ({found.suite})"),
            ("state", found.state),
            ("reason", found.reason),
            ("recorded", found.recorded_at),
            ("seconds", f"{found.seconds:.1f}"),
            ("per-item log", found.samples),
            ("computed by", found.node or "the hub"),
            ("repeats", found.same_as),
        ]
    )
    print_table(
        ["task", "metric", ">value", ">standard error", ">items", ">guessing"],
        [
            (s.task, s.metric, f"{s.value:.4f}", f"{s.standard_error:.4f}", s.items, _number(s.baseline))
            for s in found.scores
        ],
        "",
    )


@app.command("verify", epilog="Example: coalition eval verify eval-1a2b3c4d5e6f")
def verify(
    identifier: Annotated[str, typer.Argument(help="For example eval-1a2b3c4d5e6f.")], as_json: Json = False
) -> None:
    """Recompute an evaluation's scores from its per-item log and its suite; exit code 1 if anything does not hold."""
    from contributors.recheck import recheck

    with connected() as hub:
        found = recheck(hub, identifier)
    if as_json:
        print_json({"id": identifier, "checked": found.checked, "problems": found.problems})
    _conclude("Verified", f": {'; '.join(found.checked)}.", found.problems, as_json)


@app.command("reproduce", epilog="Example: coalition eval reproduce eval-1a2b3c4d5e6f")
def reproduce(
    identifier: Annotated[str, typer.Argument(help="For example eval-1a2b3c4d5e6f.")], as_json: Json = False
) -> None:
    """Evaluate again on this machine, in the same sandbox, and compare item by item; exit code 1 if anything does not hold.

    The same hardware and versions give the same to the last digit. Elsewhere likelihoods differ in their last digits. Needs
    coalition[hub] here.
    """
    import tempfile
    from pathlib import Path

    from contributors.reproducing import reproduced

    with connected() as hub:
        size = sum(file.size for file in hub.model(hub.evaluation(identifier).model).files)
        with tempfile.TemporaryDirectory(prefix="coalition-") as folder, transfer("fetching", size) as advance:
            found = reproduced(hub, identifier, Path(folder), advance)
    if as_json:
        tasks = [asdict(task) for task in found.tasks]
        print_json({"id": identifier, "identical": found.identical, "tasks": tasks, "problems": found.problems})
    else:
        print_table(
            ["task", "metric", ">recorded", ">here", ">items", ">the same", ">answers turned", ">furthest (nats)"],
            [
                (
                    task.task,
                    task.metric,
                    f"{task.recorded:.4f}",
                    f"{task.value:.4f}",
                    task.items,
                    task.same,
                    task.turned,
                    f"{task.furthest:.2g}",
                )
                for task in found.tasks
            ],
            "",
        )
    how = " to the last digit." if found.identical else ", as far as other hardware or versions let it be."
    _conclude("Reproduced", how, found.problems, as_json)


def _conclude(word: str, rest: str, problems: Sequence[str], as_json: bool) -> None:
    """What did not hold and exit code 1, or that all did."""
    for problem in [] if as_json else problems:
        say((problem, "red"))
    if problems:
        raise typer.Exit(1)
    if not as_json:
        say((word, "green"), rest)


@app.command("compare", epilog="Example: coalition eval compare tiny-1 tiny-1-round3 --examples 2")
def compare(
    first: Annotated[str, typer.Argument(help="A model version, for example tiny-1.")],
    second: Annotated[str, typer.Argument(help="Another, that may be better or worse than the first.")],
    examples: Annotated[
        int, typer.Option(min=0, max=100, help="Of each task, so many items that it won most by, and lost.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Whether the second model differs from the first beyond chance, task by task, on the items that both answered.

    p is two-sided and adjusted for all tasks (Holm): McNemar's exact test where items are right or wrong, else a
    randomisation test. The interval of the change is at 95 %, by bootstrap over the items.
    """
    from contributors.comparing import compare as compared

    with connected() as hub:
        found = compared(hub, first, second, examples)
    if as_json:
        tasks = [_plain(asdict(task)) | {"verdict": task.verdict} for task in found.tasks]
        print_json({"first": first, "second": second, "tasks": tasks, "left_out": found.left_out})
        return
    print_table(
        ["*suite/task", "metric", f">{first}", f">{second}", ">gain", ">95 %", ">won", ">lost", ">p", "verdict"],
        [
            (
                f"{task.suite}/{task.name}",
                task.metric,
                *(f"{value:.4f}" for value in task.values),
                f"{task.difference.gain:+.4f}",
                f"{task.difference.low:+.4f} to {task.difference.high:+.4f}",
                task.difference.wins,
                task.difference.losses,
                f"{task.p:.3g}",
                task.verdict,
            )
            for task in found.tasks
        ],
        "",
    )
    for reason in found.left_out:
        say(f"Left out: {reason}")
    for task in found.tasks:
        for item in task.items:
            _show_item(task.name, item, first, second)


def _show_item(task: str, item: Item, first: str, second: str) -> None:
    """An item as the suite has it, and what both made of it."""
    say((f"\n{task} {item.number}", "bold"), f": {second} {'won' if item.gain > 0 else 'lost'} {abs(item.gain):.4g}")
    for name, value in (item.row or {}).items():
        say(f"  {name}: {_cut(value)}")
    say(f"  {first} said: {_said(item.first)}")
    say(f"  {second} said: {_said(item.second)}")


def leaderboard(
    domain: Annotated[str, typer.Option(help="Of this domain's suites alone.")] = "",
    as_json: Json = False,
) -> None:
    """Models by suites: every score with its standard error; and the models ranked by all that can be checked.

    The aggregate is the mean of all authors' suites, 0 for guessing and 1 for the best, with its 95 % interval. Models that
    can't be told apart share ranks.
    """
    with connected() as hub:
        board, ranking = hub.leaderboard(), hub.ranking(domain)
    for column in [column for column in board.columns if domain not in ("", column.domain)]:
        board.columns.remove(column)
    if as_json:
        print_json(_finite(as_dict(board) | {"ranking": as_dict(ranking)}))
        return
    _show_ranking(ranking)
    columns = [f">{c.key}\n{c.metric} {'up' if c.higher_is_better else 'down'}" for c in board.columns]
    rows = [[row.model, *(_cell(row, column.key) for column in board.columns)] for row in board.rows]
    print_table(["*model", *columns], rows, "No model yet.")
    for name, reference in {column.suite: column.reference for column in board.columns}.items():
        say(f"{name} is {reference}.")
    if any(row.unranked for row in board.rows):
        say("† The suite's author supplied half or more of a training of the model: shown, not ranked.")
    if board.waiting:
        say(f"{counted(board.waiting, 'evaluation')} still to come.")


def _show_ranking(ranking: evaluation_pb2.Ranking) -> None:
    if ranking.models:
        print_table(
            [">rank", "*model", ">aggregate", ">95 %"],
            [
                (
                    str(each.first) if each.first == each.last else f"{each.first}-{each.last}",
                    each.model,
                    f"{each.value:.3f}",
                    f"{each.low:.3f} to {each.high:.3f}",
                )
                for each in ranking.models
            ],
            "",
        )
        say(f"By {counted(len(ranking.tasks), 'task')}: {', '.join(ranking.tasks)}.")
    for each in ranking.left_out:
        say(f"Not ranked: {each.what}. {each.why}")


def _cell(row: evaluation_pb2.LeaderboardRow, key: str) -> str:
    if key not in row.scores:
        return "-"
    score = row.scores[key]
    return f"{score.value:.3f} ±{score.standard_error:.3f}" + (" †" if key in row.unranked else "")


def _said(sample: Sample) -> str:
    """The answer, or the choice by its number, or how likely the text was."""
    if sample.output is not None:
        return _cut(sample.output)
    if len(sample.log_likelihoods) > 1:
        return f"choice {sample.log_likelihoods.index(max(sample.log_likelihoods))} of {len(sample.log_likelihoods)}"
    return f"log likelihood {sample.log_likelihoods[0]:.2f}"


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _plain(value: Any) -> Any:
    """Documents as the JSON that they are signed as."""
    from protos.documents.base import Document

    if isinstance(value, Document):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _brief(found: evaluation_pb2.Evaluation) -> str:
    return ", ".join(f"{score.task} {score.value:.3f}" for score in found.scores)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _finite(value: object) -> object:
    """NaN (no baseline) as null: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if value == "NaN" or (isinstance(value, float) and math.isnan(value)) else value
