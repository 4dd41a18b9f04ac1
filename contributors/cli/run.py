"""`coalition run`: launch, follow and cancel base runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli import planning
from contributors.cli.session import connected
from contributors.cli.specs import read_spec, stop_of
from contributors.cli.terminal import (
    Json,
    as_dict,
    print_fields,
    print_json,
    print_messages,
    print_table,
    say,
    say_recorded,
)
from contributors.cli.watching import follow_run

if TYPE_CHECKING:
    from contributors.client import Coalition

app = typer.Typer(no_args_is_help=True, help="Base runs: plan, launch, list, show, watch, cancel.")
app.command("plan", epilog="Example: coalition run plan small.toml --nodes 32 --gpu h200")(planning.plan)

Identifier = Annotated[str, typer.Argument(help="For example run-1a2b3c4d5e6f.")]


@app.command("launch", epilog="Example: coalition run launch tiny.toml --watch")
def launch(
    spec: Annotated[Path, typer.Argument(help="The run's specification, TOML.")],
    watch: Annotated[bool, typer.Option("--watch", help="Stay and follow it.")] = False,
    again: Annotated[bool, typer.Option("--again", help="A new run, even of a spec that was launched before.")] = False,
    as_json: Json = False,
) -> None:
    """Sign and launch a base run (core team). Launching the same spec once more answers with the run that it has."""
    from contributors.receipts import keep_receipt
    from protos.documents.runs import Run, RunSpec

    read = read_spec(spec, RunSpec)
    with connected() as hub:
        claim = Run(hub=hub.identity.hub, signer=hub.identity.id, spec=read)
        if again:
            hub.home.forget_statement(claim)
        known = hub.home.has_statement(claim)
        statement = hub.sign(claim)
        recorded = hub.launch_run(statement)
        keep_receipt(hub.home, recorded.id, recorded.receipt, statement.envelope)
        if as_json and not watch:
            print_json({"id": recorded.id, "index": recorded.receipt.index})
            return
        if not as_json:
            _tell(hub, recorded.id, known)
        if watch:
            _follow(hub, recorded.id, read.training.steps, as_json)
        else:
            say(f"Follow it: coalition run watch {recorded.id}")


def _tell(hub: Coalition, run: str, known: bool) -> None:
    if known:
        say((run, "bold"), f" was launched with this spec before and is {hub.run(run).state}. For a new one: --again")
    else:
        say("Launched ", (run, "bold"), ".")


@app.command("list", epilog="Example: coalition run list --json")
def list_runs(as_json: Json = False) -> None:
    """All base runs."""
    with connected() as hub:
        runs = hub.runs()
    if as_json:
        print_messages(runs)
        return
    print_table(
        ["*id", "name", "state", ">step", "model", "nodes", "launched"],
        [(r.id, r.name, r.state, f"{r.step}/{r.steps}", r.model, ", ".join(r.nodes), r.launched_at[:19]) for r in runs],
        "None yet. Launch one with `coalition run launch SPEC.toml`.",
    )


@app.command("show", epilog="Example: coalition run show run-1a2b3c4d5e6f")
def show(identifier: Identifier, as_json: Json = False) -> None:
    """One run in full."""
    with connected() as hub:
        run = hub.run(identifier)
    if as_json:
        print_json(as_dict(run))
        return
    losses = [metric for metric in run.metrics if metric.name == "loss"]
    print_fields(
        [
            ("id", run.id),
            ("name", run.name),
            ("state", run.state),
            ("reason", run.reason),
            ("step", f"{run.step} of {run.steps}"),
            ("loss", f"{losses[0].value:.3f} to {losses[-1].value:.3f}" if losses else ""),
            ("attempt", run.attempt or ""),
            ("nodes", ", ".join(run.nodes)),
            ("model", run.model),
            ("launched", f"{run.launched_at} by {run.launched_by}"),
            ("ended", run.ended_at),
        ]
    )
    print_table(
        [">step", ">loss", ">places", "checkpoint"],
        [(c.step, f"{c.loss:.3f}", c.places or "", c.digest) for c in run.checkpoints],
        "No checkpoint yet.",
    )


@app.command("watch", epilog="Example: coalition run watch run-1a2b3c4d5e6f")
def watch_run(identifier: Identifier, as_json: Json = False) -> None:
    """Follow a run live until it ends: losses, speed, time left, nodes. Exit code 1 if it failed. --json: one event a line."""
    with connected() as hub:
        _follow(hub, identifier, hub.run(identifier).steps, as_json)


def _follow(hub: Coalition, run: str, steps: int, as_json: bool) -> None:
    follow_run(hub.watch_run(run), steps, lambda: hub.run(run).nodes, as_json)


@app.command("cancel", epilog="Example: coalition run cancel run-1a2b3c4d5e6f --why 'wrong data'")
def cancel(
    identifier: Identifier,
    why: Annotated[str, typer.Option(help="The reason, for the record.")] = "asked to stop",
    as_json: Json = False,
) -> None:
    """Sign a stop for a run (core team)."""
    with connected() as hub:
        recorded = hub.cancel_run(hub.sign(stop_of(hub, identifier, why)))
    say_recorded(recorded, f"{identifier} is being stopped.", as_json)
