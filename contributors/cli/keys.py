"""`coalition keys`: list, rotate, renew, revoke, delegate."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from contributors.cli.asking import Yes, make_sure
from contributors.cli.session import connected
from contributors.cli.terminal import Json, as_dict, print_json, print_table, say
from trust.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="Your keys: list, rotate, renew, revoke, delegate.")


@app.command("list", epilog="Example: coalition keys list --json")
def list_keys(
    member: Annotated[str, typer.Option(help="Another member's.")] = "",
    as_json: Json = False,
) -> None:
    """Every key that speaks or spoke for you, with the entries of the ledger between which it counts."""
    with connected() as hub:
        found = hub.keys(member)
    if as_json:
        print_json(as_dict(found))
        return
    rows = [(key.key_id[:16], "statements", *_course(key)) for key in found.keys]
    rows += [
        (each.key.key_id[:16], f"{each.id}: {', '.join(each.kinds)}, {each.used} of {each.budget}", *_course(each.key))
        for each in found.delegations
    ]
    print_table(["key", "for", ">since", ">until", ">compromised", "state"], rows, "There are no keys.")
    say(f"Version {found.version} of the keys of {found.member}{' (revoked)' if found.revoked else ''}.")


def _course(key: object) -> tuple[object, ...]:
    since, until, compromised = (getattr(key, name) for name in ("since", "until", "compromised_since"))
    state = "valid" if getattr(key, "valid", False) else "revoked" if compromised >= 0 else "replaced"
    return since, until if until >= 0 else "", compromised if compromised >= 0 else "", state


@app.command("rotate", epilog="Example: coalition keys rotate")
def rotate(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the old private key aside instead of destroying it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replace your key by a new one, signed by both. What the old one signed stays valid. After a cut, run it again."""
    from contributors.keychain import rotate as replace

    with connected() as hub:
        keyid = replace(hub, keep=keep)
    if as_json:
        print_json({"key_id": keyid})
        return
    say(("Replaced", "green"), f": statements are signed with {keyid[:16]} from now on.")


@app.command("renew", epilog="Example: coalition keys renew")
def renew(
    token: Annotated[
        str, typer.Option(envvar="COALITION_TOKEN", help="An invitation, if the certificate ran out.")
    ] = "",
    as_json: Json = False,
) -> None:
    """A new certificate for a new TLS key, now. Without this it happens by itself when a third of its life is left."""
    from contributors.cli.session import our_home
    from trust.presented import read_client_certificate

    home = our_home()
    credentials = home.renew_by(token) if token else home.renew()
    expires = read_client_certificate(credentials.certificate).expires.isoformat()
    if as_json:
        print_json({"expires_at": expires})
        return
    say(("Renewed", "green"), f": the certificate holds until {expires}.")


@app.command("revoke", epilog="Example: coalition keys revoke --since 1042 --reason 'laptop stolen'")
def revoke(
    key: Annotated[
        str,
        typer.Argument(help="Key (its first digits do) or delegation; without it your present key, which is replaced."),
    ] = "",
    since: Annotated[
        int | None, typer.Option(help="The first entry of the ledger not to be believed; now by default.")
    ] = None,
    member: Annotated[str, typer.Option(help="Core team: another member's; all its keys unless one is named.")] = "",
    reason: Annotated[str, typer.Option(help="Why; everybody reads it.")] = "compromised",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Disown a key, and what it may have made, from an entry of the ledger on.

    Entries before stay valid; open streams end at their next message.
    """
    from contributors import keychain

    with connected() as hub:
        other = member if member != hub.identity.id else ""
        named = keychain.find_key(hub, other, key) if key else ""
        present = hub.home.artifact_key().public.keyid
        make_sure(_meaning(other, named[:16], since, whole=named in ("", present)), yes)
        revoke_it = partial(keychain.revoke_member, hub, other) if other else partial(keychain.revoke, hub)
        done = revoke_it(named, since, reason)
    if as_json:
        print_json({"revocations": done})
        return
    say(("Revoked", "green"), f": {', '.join(done)}.")


def _meaning(member: str, key: str, since: int | None, *, whole: bool) -> str:
    """What a revocation will do, in a sentence or three."""
    start = "now" if since is None else f"entry {since} of the ledger"
    ends = f"What was signed with it from {start} on is not believed, and keys and delegations made since then end."
    if member:
        if key:
            return f"The key {key} of {member} will be disowned. {ends} If it is its own, it needs an invitation to connect."
        return (
            f"Every key of {member} will be disowned, with its delegations. {ends} It needs an invitation to come back."
        )
    if not whole:
        return f"The key {key} will be disowned. {ends}"
    return (
        f"Your key and your TLS key will be replaced, and every key that you held since then disowned. {ends} "
        "Copies of this home on other machines lose their connection."
    )


@app.command("delegate", epilog="Example: coalition keys delegate /srv/robot --kinds dataset --budget 10 --days 1")
def delegate(
    directory: Annotated[Path, typer.Argument(help="The robot's home, to be made: its COALITION_HOME.")],
    kinds: Annotated[
        str,
        typer.Option(help="dataset, suite, consent; core: run, stop, campaign. sealed: it reads your sealed suites."),
    ],
    budget: Annotated[int, typer.Option(help="How many statements.")] = 10,
    days: Annotated[float, typer.Option(help="For how long.")] = 1.0,
    name: Annotated[str, typer.Option(help="What you call it.")] = "robot",
    as_json: Json = False,
) -> None:
    """Let a robot (a CI job, an agent) speak in your name within bounds, with keys of its own; yours stay with you."""
    from contributors import keychain

    listed = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    if not 0 < days <= 365:
        raise Invalid(f"A delegation cannot hold for {days} days.", "Choose up to 365.")
    with connected() as hub:
        robot = keychain.delegate(hub, directory.absolute(), name, listed, budget, days)
    identity = robot.identity()
    if as_json:
        print_json({"delegation": identity.delegation, "home": str(robot.directory), "kinds": listed, "budget": budget})
        return
    say(("Delegated", "green"), f": {identity.delegation} may sign {', '.join(listed)}, {budget} times.")
    say(
        f"Give the robot COALITION_HOME={robot.directory}; take it back with: coalition keys revoke {identity.delegation}"
    )
