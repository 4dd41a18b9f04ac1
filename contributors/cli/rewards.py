"""`coalition reward`: policies that say what a model's answers are worth; submit, list, show, withdraw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli import submissions
from contributors.cli.session import connected
from contributors.cli.submissions import Reason
from contributors.cli.terminal import Json, print_fields, print_json, print_messages, print_table
from trust.errors import Invalid, NotFound

if TYPE_CHECKING:
    from protos.documents.rewards import RewardPolicy

app = typer.Typer(
    no_args_is_help=True, help="Reward policies, which campaigns of GRPO learn by: submit, list, show, withdraw."
)

Identifier = Annotated[str, typer.Argument(help="As the list shows it, for example reward-1a2b3c4d5e6f.")]


@app.command("submit", epilog="Example: coalition reward submit careful.json")
def submit(
    policy: Annotated[Path, typer.Argument(help="The policy, JSON (docs/member-guide.md says what may stand in it).")],
    as_json: Json = False,
) -> None:
    """Check, sign and submit a policy, for everybody to read."""
    from contributors.packing import Packed
    from protos.documents.submissions import Reward

    read = read_policy(policy)
    with connected() as hub:
        claim = Reward(hub=hub.identity.hub, signer=hub.identity.id, policy=read)
        submissions.send(hub, claim, Packed((), {}), as_json)


@app.command("list", epilog="Example: coalition reward list")
def list_policies(as_json: Json = False) -> None:
    """All policies, with the digests by which campaigns name them."""
    with connected() as hub:
        found = hub.submissions("reward")
    if as_json:
        print_messages(found)
        return
    print_table(
        ["*id", "name", "member", "state", "*digest"],
        [(each.id, each.name, each.member, each.state, each.payload) for each in found],
        "None yet. Submit one with `coalition reward submit POLICY.json`.",
    )


@app.command("show", epilog="Example: coalition reward show reward-1a2b3c4d5e6f")
def show(identifier: Identifier, as_json: Json = False) -> None:
    """One policy in full, from its signed statement."""
    from protos.documents.submissions import Reward

    with connected() as hub:
        claimed, found = hub.statement(identifier), hub.submission(identifier)
    if not isinstance(claimed.claim, Reward):
        raise NotFound(f"{identifier} is a {claimed.kind}, not a reward policy.")
    policy = claimed.claim.policy.model_dump(mode="json", exclude_none=True)
    if as_json:
        print_json({"id": claimed.id, "digest": claimed.payload, "state": found.state, "policy": policy})
        return
    print_fields(
        [
            ("id", claimed.id),
            ("member", claimed.claim.signer),
            ("digest", claimed.payload),
            ("state", found.state),
            ("recorded", found.recorded_at),
            ("because", found.withdrawn_because),
        ]
    )
    print_json(policy)


@app.command("withdraw", epilog="Example: coalition reward withdraw reward-1a2b3c4d5e6f")
def withdraw(identifier: Identifier, reason: Reason = "withdrawn by its owner", as_json: Json = False) -> None:
    """Withdraw a policy: no further campaign may name it. Those that were opened with it go on."""
    submissions.withdraw("reward", identifier, reason, as_json)


def read_policy(path: Path) -> RewardPolicy:
    """Raises `NotFound`, `Invalid` naming file and field."""
    from protos.documents.rewards import MAX_POLICY, RewardPolicy
    from trust.canonical import parse

    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    if path.stat().st_size > MAX_POLICY:
        raise Invalid(f"{path} has more than {MAX_POLICY} bytes.")
    try:
        return RewardPolicy.read(parse(path.read_bytes(), max_bytes=MAX_POLICY))
    except Invalid as problem:
        raise Invalid(f"{path}: {problem.what}", problem.todo, field=problem.field) from None
