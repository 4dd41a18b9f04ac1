"""`coalition enrol` and `coalition whoami`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contributors.cli.session import connected, our_home
from contributors.cli.terminal import Json, as_dict, print_fields, print_json, say
from trust.errors import Conflict


def enrol(
    hub: Annotated[str, typer.Option(help="HOST:PORT of the hub; several with commas between them.")],
    token: Annotated[str, typer.Option(envvar="COALITION_TOKEN", help="The invitation that you were given.")],
    directory: Annotated[
        Path | None, typer.Option("--home", help="Your home, if not COALITION_HOME or ~/.coalition.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Join a coalition: make keys, prove them, receive a certificate. Private keys never leave your home."""
    from contributors.home import Home
    from contributors.receipts import keep_receipt
    from protos.transport.channel import split_address
    from protos.transport.enrolment import enrol as spend
    from trust.invitations import Invitation

    host, _ = split_address(hub)
    home = Home(directory.absolute()) if directory else our_home()
    if home.enrolled:
        raise Conflict(f"{home.directory} is enrolled already.", "Set COALITION_HOME to another directory.")
    enrolled = spend(host, Invitation.decode(token), "member", home.artifact_key())
    home.save_enrolment(enrolled, hub)
    if enrolled.receipt.proof:
        keep_receipt(home, enrolled.id, enrolled.receipt)
    identity = home.identity()
    if as_json:
        print_json(identity.model_dump())
        return
    say((identity.organisation, "bold"), f" is a {identity.role} of {identity.hub}, as {identity.id}.")
    say(f"Everything of yours lies in {home.directory}. Next: coalition whoami")


def whoami(as_json: Json = False) -> None:
    """Show who the hub takes you for, and what you contributed."""
    with connected() as hub:
        me = hub.whoami()
    if as_json:
        print_json(as_dict(me) | {"hub": hub.identity.hub, "home": str(hub.home.directory)})
        return
    print_fields(
        [
            ("member", me.id),
            ("organisation", me.organisation),
            ("role", me.role),
            ("hub", f"{hub.identity.hub} at {hub.identity.address}"),
            ("artifact key", me.key_id),
            ("enrolled", me.enrolled_at),
            ("contributed", f"{me.datasets} datasets, {me.suites} suites, {me.rounds} rounds"),
            ("home", hub.home.directory),
        ]
    )
