"""What every command of `coalition-hub` writes with, and the arguments that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

out = Console(markup=False, highlight=False)
err = Console(markup=False, highlight=False, stderr=True)

Directory = Annotated[Path, typer.Argument(help="The directory that holds everything of this hub or node.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(what: str | Text, to: Console = out) -> None:
    """As it is: nothing is read as markup, and the terminal wraps, so that what is copied is whole."""
    to.print(what, soft_wrap=True)
