"""`coalition-hub authority`: the certificate authority is shown, rotated, retired."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hub.cli.terminal import Directory, Json, out, say
from hub.settings import Settings

authority = typer.Typer(
    no_args_is_help=True,
    help="The certificate authority: show, rotate, retire.",
    epilog="Example: coalition-hub authority show /srv/coalition",
)


@authority.command("show", epilog="Example: coalition-hub authority show /srv/coalition")
def authority_show(directory: Directory) -> None:
    """Fingerprints of the present authority and, while it changes over, of the next one, as JSON."""
    from hub import authorities

    out.print_json(json.dumps(authorities.status(Settings.load(directory))))


@authority.command("rotate", epilog="Example: coalition-hub authority rotate /srv/coalition")
def authority_rotate(directory: Directory, as_json: Json = False) -> None:
    """Make the next authority, trusted beside the present one. A running hub takes it up; parties learn it as they renew."""
    from hub import authorities

    settings = Settings.load(directory)
    authorities.rotate(settings)
    if as_json:
        out.print_json(json.dumps(authorities.status(settings)))
        return
    say("The next authority is made. Retire the old one when every certificate was renewed:")
    say(f"coalition-hub authority retire {directory}")


@authority.command("retire", epilog="Example: coalition-hub authority retire /srv/coalition")
def authority_retire(
    directory: Directory,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Though some parties may not know the next one yet.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put the next authority in the place of the present one, and destroy the old key.

    Invitations of before end, and so do open connections under certificates that it issued.
    """
    from hub import authorities

    settings = Settings.load(directory)
    found = authorities.retire(settings, at_once=at_once)
    if as_json:
        out.print_json(json.dumps(authorities.status(settings)))
        return
    say(f"The authority is now {found.fingerprint}.")
