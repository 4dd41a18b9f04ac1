"""What the demonstration says at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from contributors.demo.comparison import Change


def print_leaderboard(out: Console, board: dict[str, Any]) -> None:
    """Tasks down, models across: there are more tasks than models. Fits into 80 columns."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("suite/task", no_wrap=True)
    for row in board["rows"]:
        table.add_column(row["model"], justify="right", no_wrap=True)
    for column in board["columns"]:
        cells = [_cell(row["scores"].get(column["key"])) for row in board["rows"]]
        table.add_row(f"{column['key']} {'↑' if column['higher_is_better'] else '↓'}", *cells)
    out.print("\n[bold]Leaderboard[/]  ↑ accuracy, ↓ bits per byte; value±standard error")
    out.print(table, highlight=False)


def print_summary(
    out: Console,
    lineage: dict[str, Any],
    moved: Sequence[Change],
    elsewhere: Sequence[Change],
    models: Sequence[str],
    sample: str,
    directory: Path,
    url: str,
) -> None:
    """Who contributed what, how the scores moved, where everything lies, how to look further."""
    out.print("\n[bold]Who is in it[/]")
    for used in lineage["data"]:
        rounds = sum(1 for part in lineage["members"] if part["member"] == used["member"] and part["weight"] > 0)
        out.print(
            f"  {used['member']}: {used['tokens']:,} tokens of {used['name']} ({used['licence']}), {rounds} rounds"
        )
    out.print(f"\n[bold]Bits per byte on held-out text[/], from the base {models[0]} to {models[-1]} (lower is better)")
    for change in moved:
        percent, error = (100 * value / change.before for value in (change.after - change.before, change.error))
        colour = "green" if change.after < change.before else "red"
        moves = f"  {change.domain:<10} {change.before:.4f} -> {change.after:.4f}"
        out.print(f"{moves}  [{colour}]{percent:+.2f} %[/] ±{error:.2f}", highlight=False)
    out.print("  ± is the standard error of the difference, both models reading the same texts")
    if elsewhere:
        out.print("\n[bold]What is forgotten elsewhere[/], in right answers of 100")
    for change in elsewhere:
        points, error = 100 * (change.after - change.before), 100 * change.error
        moves = f"  {change.domain:<10} {100 * change.before:.1f} -> {100 * change.after:.1f}"
        out.print(f"{moves}  {points:+.1f} ±{error:.1f}", highlight=False)
    out.print(f"\n[bold]{models[-1]} writes[/]")
    for line in sample.strip().splitlines():
        out.print(f"  {line}", highlight=False, markup=False)
    out.print(f"\n[bold]Where things lie[/] in {directory}", soft_wrap=True, highlight=False)
    out.print("  hub/          ledger, blobs, database, keys")
    out.print("  MEMBER/       a member: home, submitted and private text, suite")
    out.print("  release-1.0/  the signed release")
    out.print("  logs/         what every process said")
    out.print("\n[bold]Look further[/]")
    out.print(f"  {url}   the dashboard")
    out.print(f"  export COALITION_HOME={directory}/viewer/home", soft_wrap=True, highlight=False)
    out.print(f"  .venv/bin/coalition leaderboard | ledger verify | model lineage {models[-1]}", highlight=False)
    out.print(
        f"  .venv/bin/coalition ledger verify --store {directory}/hub   (offline)\n", soft_wrap=True, highlight=False
    )


def _cell(score: dict[str, Any] | None) -> str:
    return f"{score['value']:.3f}±{score['standard_error']:.3f}" if score else "-"
