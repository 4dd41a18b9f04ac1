"""`coalition-hub rebuild`, `scrub`, `screen`, `purge`, `import` and `dump`: a hub's stores are looked after."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    FileSizeColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from hub.cli.terminal import Directory, Json, err, out, say
from hub.settings import Settings
from trust.errors import Invalid
from trust.sentences import counted

care = typer.Typer()


@care.command(epilog="Example: coalition-hub rebuild /srv/coalition")
def rebuild(directory: Directory, as_json: Json = False) -> None:
    """Throw the database away and make it anew from ledger and blobs. Stop the hub first.

    Open invitations, unfinished submissions and the course of past runs stand in no ledger and are lost.
    """
    from hub.rebuild import rebuild as run

    with err.status("Auditing the ledger, then replaying it"):
        entries = run(Settings.load(directory))
    if as_json:
        out.print_json(json.dumps({"entries": entries}))
        return
    say(f"The database is made anew from {counted(entries, 'entry', 'entries')} of the ledger.")


@care.command(
    "import",
    epilog="Example: coalition-hub import /srv/coalition smollm2/ --licence Apache-2.0 --provenance 'SmolLM2, Hugging Face'",
)
def import_model(
    directory: Directory,
    model: Annotated[Path, typer.Argument(help="A folder with a model in the form of Hugging Face.")],
    licence: Annotated[str, typer.Option(help="Of the weights, as SPDX: Apache-2.0.")],
    provenance: Annotated[str, typer.Option(help="Whose the weights are, and where they were found.")],
    name: Annotated[str, typer.Option(help="Of its versions; the folder's name otherwise.")] = "",
    as_json: Json = False,
) -> None:
    """Take a model that others trained in as a base for campaigns. Stop the hub first.

    It is recorded in the ledger with its licence and provenance, and evaluated with every suite as the coalition's own are.
    """
    from hub.importing import import_model as run
    from hub.models.imports import Described

    described = Described.read(
        {"name": name or model.absolute().name.lower(), "licence": licence, "provenance": provenance}
    )
    with err.status("Checking that the weights load, then storing them"):
        made = run(Settings.load(directory), model, described)
    if as_json:
        out.print_json(json.dumps({"id": made.model, "source": made.source, "parameters": made.parameters}))
        return
    say(f"{made.model} is recorded: {made.architecture}, {made.parameters:,} parameters, under {licence}.")


@care.command(epilog="Example: coalition-hub scrub /srv/coalition --restore-from /backup/mirror")
def scrub(
    directory: Directory,
    restore_from: Annotated[
        Path | None, typer.Option(help="A member's `coalition ledger mirror`: take back from it what is damaged.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read everything that the hub keeps and check it: blobs, ledger, database. Exit code 1 when something is damaged.

    A hub may serve meanwhile: without --restore-from nothing is changed.
    """
    from hub.repair import restore
    from hub.repair import scrub as run
    from hub.scrub.restoring import Restored

    settings = Settings.load(directory)
    with _progress() as advance:
        if restore_from is None:
            found, result = run(settings, advance), Restored()
        else:
            found, result = restore(settings, restore_from, advance)
    if as_json:
        out.print_json(json.dumps({**found.document(), **result.document()}))
    else:
        for line in (*found.lines(), *result.lines()):
            say(line)
    if result.lost or found.cut_short or (restore_from is None and not found.clean):
        raise typer.Exit(1)


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """How many bytes of which stage were read, on the terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), FileSizeColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def advance(stage: str, size: int) -> None:
            progress.update(task, description=stage, advance=size)

        yield advance


@care.command(epilog="Example: coalition-hub screen /srv/coalition --all")
def screen(
    directory: Directory,
    everything: Annotated[bool, typer.Option("--all", help="Every accepted dataset whose text is here.")] = False,
    as_json: Json = False,
) -> None:
    """Screen accepted datasets again, as after a new suite came. Stop the hub first.

    Findings are renewed for their owners and the core team (`coalition data show ID`); nothing is withdrawn by itself.
    """
    from hub.rescreen import rescreen

    if not everything:
        raise Invalid("Nothing was named to be screened.", "Say --all.")
    columns = (SpinnerColumn(), TextColumn("screening"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    settings = Settings.load(directory)
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("screening", total=None)
        found = rescreen(settings, lambda done, total: progress.update(task, completed=done, total=total))
    if as_json:
        out.print_json(json.dumps({name: [finding.model_dump() for finding in told] for name, told in found.items()}))
        return
    for name, told in found.items():
        for finding in told:
            if finding.severity != "info":
                say(f"{name} {finding.severity}: {finding.message}")
    say(f"Screened again: {counted(len(found), 'dataset')}.")


@care.command(epilog="Example: coalition-hub purge /srv/coalition --dry-run")
def purge(
    directory: Directory,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go; the hub may run.")] = False,
    no_grace: Annotated[bool, typer.Option("--no-grace", help="What was withdrawn goes at once.")] = False,
    as_json: Json = False,
) -> None:
    """Delete now what nobody needs: bytes of withdrawn submissions, of those never committed, of runs that ended.

    A hub that serves does so by itself, as hub.toml says (purge_withdrawn, purge_grace_days, draft_days). Stop it first.
    """
    from hub.purge import purge as run

    found = run(Settings.load(directory), dry_run=dry_run, no_grace=no_grace)
    if as_json:
        out.print_json(json.dumps(found.as_dict()))
        return
    for line in found.lines():
        say(line)


@care.command(epilog="Example: coalition-hub dump /srv/coalition | sha256sum")
def dump(directory: Directory) -> None:
    """Print what the database says about the ledger as sorted JSON lines: equal for equal facts, on every database."""
    from hub.database import Database
    from hub.dump import dump as lines

    with closing(Database(Settings.load(directory).database_url)) as database:
        for line in lines(database):
            sys.stdout.buffer.write(line)
