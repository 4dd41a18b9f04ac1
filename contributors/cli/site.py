"""`coalition site start`: a member's place for post-training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contributors.cli.session import our_home

app = typer.Typer(no_args_is_help=True, help="Your site: where post-training meets your private data.")


@app.command("start", epilog="Example: coalition site start --data private/ --join all")
def start(
    data: Annotated[Path | None, typer.Option(help="Your private text; kept in site.toml for the next time.")] = None,
    join: Annotated[str, typer.Option(help="all: join every campaign; ask: you join by hand. Kept in site.toml.")] = "",
    country: Annotated[
        str, typer.Option(help="Where the site stands, for example NL; data may be bound to it. Kept in site.toml.")
    ] = "",
) -> None:
    """Run the site until Ctrl-C. The text stays here: only adapter weights and a few numbers leave.

    It trains on files that a dataset of yours names, as they are: coalition data submit DIR --category private.
    """
    from contributors.site.run import start as run

    run(our_home(), data=data, join=join, country=country)


@app.callback()
def _noun() -> None:
    """Your site: where post-training meets your private data."""
