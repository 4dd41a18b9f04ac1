"""`coalition node`: list, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from contributors.cli.asking import Yes, make_sure
from contributors.cli.session import connected
from contributors.cli.terminal import Json, print_json, print_messages, print_table, say

app = typer.Typer(no_args_is_help=True, help="Machines for base runs and evaluations: list, revoke.")


@app.command("list", epilog="Example: coalition node list --json")
def list_nodes(as_json: Json = False) -> None:
    """Every node that may take part, and what it does now."""
    with connected() as hub:
        found = hub.nodes()
    if as_json:
        print_messages(found)
        return
    rows = [(node.name, "attached" if node.attached else "away", node.run, node.last_seen[:19]) for node in found]
    print_table(["name", "state", "run", "last seen"], rows, "There are no nodes.")


@app.command("revoke", epilog="Example: coalition node revoke gpu-1 --reason 'sold'")
def revoke(
    name: Annotated[str, typer.Argument(help="The node.")],
    reason: Annotated[str, typer.Option(help="Why; everybody reads it.")] = "revoked by the core team",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Core team: a node is none any more, on open connections too; its run goes on elsewhere. It may be invited again."""
    from contributors import keychain

    with connected() as hub:
        make_sure(f"The certificates of the node {name} will count for nothing from now on.", yes)
        done = keychain.revoke_node(hub, name, reason)
    if as_json:
        print_json({"revocation": done})
        return
    say(("Revoked", "green"), f": {name}, by {done}.")
