"""`coalition enrol` and `coalition whoami`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli.session import connected, our_home
from contributors.cli.terminal import Json, as_dict, print_fields, print_json, say
from trust.sentences import counted

if TYPE_CHECKING:
    from contributors.client import Coalition
    from protos.coalition.v1 import members_pb2


def enrol(
    hub: Annotated[str, typer.Option(help="HOST:PORT of the hub; several with commas between them.")],
    token: Annotated[str, typer.Option(envvar="COALITION_TOKEN", help="The invitation that you were given.")],
    directory: Annotated[
        Path | None, typer.Option("--home", help="Your home, if not COALITION_HOME or ~/.coalition.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Join a coalition: make keys, prove them, receive a certificate. Private keys never leave your home."""
    from contributors.enrolment import join
    from contributors.home import Home

    home = Home(directory.absolute()) if directory else our_home()
    join(home, hub, token)
    identity = home.identity()
    if as_json:
        print_json(identity.model_dump())
        return
    role = "in the core team" if identity.role == "core" else f"a {identity.role}"
    say((identity.organisation, "bold"), f" is {role} of {identity.hub}, as {identity.id}.")
    chosen = f"COALITION_HOME={home.directory} " if home != our_home() else ""
    say(f"Everything of yours lies in {home.directory}. Next: {chosen}coalition whoami")


def whoami(as_json: Json = False) -> None:
    """Show who the hub takes you for, and what you contributed; of a delegate also what it may still do."""
    with connected() as hub:
        me, ours = hub.whoami(), _our_delegation(hub)
    if as_json:
        shown = as_dict(me) | {"hub": hub.identity.hub, "home": str(hub.home.directory)}
        print_json(shown | ({"delegation": as_dict(ours)} if ours else {}))
        return
    print_fields(
        [
            *_lent(me.id, ours),
            ("member", me.id),
            ("organisation", me.organisation),
            ("role", me.role),
            ("hub", f"{hub.identity.hub} at {hub.identity.address}"),
            ("artifact key", ours.key.key_id if ours else me.key_id),
            ("enrolled", me.enrolled_at),
            ("contributed", ", ".join(_contributed(me))),
            ("home", hub.home.directory),
        ]
    )


def _contributed(me: members_pb2.Member) -> list[str]:
    return [counted(me.datasets, "dataset"), counted(me.suites, "suite"), counted(me.rounds, "round")]


def _our_delegation(hub: Coalition) -> members_pb2.MemberDelegation | None:
    """Under which we speak, if we are somebody's delegate."""
    name = hub.identity.delegation
    return next((each for each in hub.keys().delegations if each.id == name), None) if name else None


def _lent(member: str, ours: members_pb2.MemberDelegation | None) -> list[tuple[str, object]]:
    if ours is None:
        return []
    left = f"{ours.budget - ours.used} of {counted(ours.budget, 'statement')} left, until {ours.expires_at}"
    return [
        ("delegate", f"{ours.name} ({ours.id}) of {member}"),
        ("may sign", f"{', '.join(ours.kinds)}: {left if ours.key.valid else 'nothing any more, for it was revoked'}"),
    ]
