"""`coalition enrol` and `coalition whoami`."""

from __future__ import annotations

from typing import Annotated

import typer

from contributors.cli.terminal import Json, as_dict, out, print_fields, print_json
from contributors.client import Coalition
from contributors.home import Home
from protos.transport.channel import split_address
from protos.transport.enrolment import enrol as spend
from trust.errors import Conflict
from trust.invitations import Invitation


def enrol(
    hub: Annotated[str, typer.Option(help="HOST:PORT of the hub.")],
    token: Annotated[str, typer.Option(envvar="COALITION_TOKEN", help="The invitation that you were given.")],
    as_json: Json = False,
) -> None:
    """Join a coalition: make keys, prove them, receive a certificate. Keys stay in your home (COALITION_HOME)."""
    host, _ = split_address(hub)
    home = Home.default()
    if home.enrolled:
        raise Conflict(f"{home.directory} is enrolled already.", "Set COALITION_HOME to another directory.")
    enrolled = spend(host, Invitation.decode(token), "member", home.artifact_key())
    home.save_enrolment(enrolled, hub)
    if enrolled.receipt.proof:
        home.save_receipt(enrolled.id, enrolled.receipt.leaf, enrolled.receipt.proof)
    identity = home.identity()
    if as_json:
        print_json(identity.model_dump())
        return
    out.print(f"[bold]{identity.organisation}[/] is a {identity.role} of {identity.hub}, as {identity.id}.")
    out.print(f"Everything of yours lies in {home.directory}. Next: coalition whoami")


def whoami(as_json: Json = False) -> None:
    """Show who the hub takes you for, and what you contributed."""
    with Coalition(Home.default()) as hub:
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
