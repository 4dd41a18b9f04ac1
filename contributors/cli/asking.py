"""Asking before what cannot be taken back."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from contributors.cli.terminal import err, say
from trust.errors import Conflict, Invalid

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def make_sure(what: str, yes: bool) -> None:
    """Say what is about to be done, and go on when whoever sits at the terminal agrees.

    Raises `Invalid` where nobody sits there, `Conflict` when they don't agree.
    """
    say(what, to=err)
    if yes:
        return
    if not sys.stdin.isatty():
        raise Invalid("Nobody is there to be asked.", "Say --yes if it is meant.")
    if not typer.confirm("Go on?", err=True):
        raise Conflict("Nothing was done.")
