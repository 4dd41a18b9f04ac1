"""A whole coalition on one machine, from members' text to a signed release: `python -m contributors.demo.story`.

Every party is its own process with its own home and keys; everything goes through the two public commands.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from contributors.client import Coalition
from contributors.demo.comparison import answers, changes
from contributors.demo.parties import Party, Processes, free_ports, run
from contributors.demo.prepare import DOMAINS
from contributors.demo.steps import Story, out
from contributors.demo.summary import print_leaderboard, print_summary
from contributors.home import Home
from trust.errors import Conflict, Problem

MARKER = ".coalition-demo"


def _fresh(directory: Path) -> None:
    """An empty directory; an earlier demonstration's is replaced, one that still runs or anything else is refused."""
    marker = directory / MARKER
    if directory.exists() and any(directory.iterdir()) and not marker.exists():
        raise Conflict(f"{directory} is not an earlier demonstration.", "Choose another directory.")
    if marker.exists() and _runs(marker.read_text()):
        raise Conflict(f"A demonstration still runs in {directory}.", "Stop it with Ctrl-C first.")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    marker.write_text(str(os.getpid()))


def _runs(pid: str) -> bool:
    """Whether the process that told an earlier story is still there."""
    try:
        return b"contributors.demo.story" in Path("/proc", pid.strip() or "0", "cmdline").read_bytes()
    except OSError:
        return False


def tell(
    directory: Annotated[Path, typer.Option(help="Where everything goes; an earlier demo there is replaced.")] = Path(
        ".demo"
    ),
    serve: Annotated[bool, typer.Option(help="Leave everything running until Ctrl-C.")] = True,
    base: Annotated[
        Path | None, typer.Option(help="Rounds start from this model, which others trained; its import.json says who.")
    ] = None,
    members: Annotated[int, typer.Option(min=3, max=len(DOMAINS), help="How many members take part.")] = len(DOMAINS),
) -> None:
    """Run a real coalition on this machine, from members' text to a signed release."""
    directory = directory.absolute()
    _fresh(directory)
    parties = {domain.name: Party(domain.name, directory / domain.name / "home") for domain in DOMAINS[:members]}
    with Processes(directory / "logs") as processes:
        story = Story(
            directory,
            processes,
            free_ports(3),
            Party("core", directory / "core" / "home"),
            Party("viewer", directory / "viewer" / "home"),
            parties,
            base,
        )
        story.open_hub()
        story.enrol()
        story.submit()
        story.attach()
        models = story.hold_rounds(story.find_base())
        story.wait_for_scores()
        folder = story.release(models[-1])
        sample = run([sys.executable, "-m", "contributors.demo.generate", folder])
        url = story.dashboard()
        board = story.viewer.coalition("leaderboard")
        print_leaderboard(out, board)
        with Coalition(Home(story.viewer.home)) as hub:
            moved = changes(hub, models[0], models[-1])
            elsewhere = answers(hub, models[0], models[-1], "general") if base else []
        lineage = story.viewer.coalition("model", "lineage", models[-1])
        print_summary(out, lineage, moved, elsewhere, models, sample, directory, url)
        story.say("done")
        if serve:
            out.print("Everything keeps running. Ctrl-C stops it.")
            _until_interrupted(processes)


def _until_interrupted(processes: Processes) -> None:
    try:
        while True:
            processes.check()
            time.sleep(1)
    except KeyboardInterrupt:
        out.print("Stopping.")


def main() -> None:
    try:
        typer.run(tell)
    except Problem as problem:
        Console(stderr=True).print(f"[bold red]error[/] {problem.diagnostics()}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
