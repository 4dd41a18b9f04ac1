"""`coalition ledger`: head, entries, verify, receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contributors.cli.terminal import Json, as_dict, out, print_fields, print_json, print_messages, print_table, working
from contributors.client import Coalition
from contributors.home import Home
from contributors.ledger import HubSource, StoreSource, Verdict, verify_ledger
from trust.notes import verify_tree_head
from trust.receipts import verify_receipt

app = typer.Typer(
    no_args_is_help=True, help="The ledger of everything that was accepted: head, entries, verify, receipt."
)


@app.command("head", epilog="Example: coalition ledger head")
def head(as_json: Json = False) -> None:
    """The signed tree head, verified."""
    home = Home.default()
    with Coalition(home) as hub:
        found = hub.head()
    key = home.ledger_key()
    verify_tree_head(found.note, key, key.name)
    if as_json:
        print_json({"origin": found.origin, "size": found.size, "root": found.root.hex(), "note": found.note.decode()})
        return
    print_fields([("origin", found.origin), ("entries", found.size), ("root", found.root.hex())])
    out.print(found.note.decode(), highlight=False, soft_wrap=True)


@app.command("entries", epilog="Example: coalition ledger entries --start 10")
def entries(
    start: Annotated[int, typer.Option(help="First entry.")] = 0,
    count: Annotated[int, typer.Option(help="How many; 0 for up to 1,000.")] = 0,
    as_json: Json = False,
) -> None:
    """What the ledger records."""
    with Coalition(Home.default()) as hub:
        found = hub.entries(start, count)
    if as_json:
        print_messages(found)
        return
    print_table(
        [">index", "time", "kind", "signer", "id"],
        [(e.index, e.time[:19], e.kind, e.signer, e.id) for e in found],
        "The ledger is empty.",
    )


@app.command("verify", epilog="Example: coalition ledger verify   or offline: coalition ledger verify --store /srv/hub")
def verify(
    store: Annotated[Path | None, typer.Option(help="A hub's directory, to verify from its files.")] = None,
    as_json: Json = False,
) -> None:
    """Recompute everything: the tree, every signature, every blob; exit code 1 if anything does not hold."""
    home = Home.default()
    with working("verifying") as progress:
        if store is not None:
            verdict = _verify(home, StoreSource(store), progress)
        else:
            with Coalition(home) as hub:
                verdict = _verify(home, HubSource(hub), progress)
    if as_json:
        print_json(
            {
                "size": verdict.head.size,
                "root": verdict.head.root.hex(),
                "entries": verdict.entries,
                "blobs_verified": verdict.verified_blobs,
                "blobs_vouched": verdict.vouched_blobs,
                "problems": verdict.problems,
            }
        )
    else:
        _tell(verdict)
    if verdict.problems:
        raise typer.Exit(1)


@app.command("receipt", epilog="Example: coalition ledger receipt data-1a2b3c4d5e6f")
def receipt(
    identifier: Annotated[str, typer.Argument(help="What was recorded, or an entry's number.")], as_json: Json = False
) -> None:
    """Fetch a receipt, verify it, keep it in your home: it verifies offline from then on."""
    home = Home.default()
    with Coalition(home) as hub:
        found = hub.receipt(identifier)
    tree = verify_receipt(found.proof, found.leaf, home.ledger_key())
    path = home.save_receipt(identifier, found.leaf, found.proof)
    if as_json:
        print_json(as_dict(found) | {"path": str(path), "size": tree.size})
        return
    out.print(f"Entry {found.index} of {tree.size} is in the ledger. Receipt: {path}")


def _verify(home: Home, source: HubSource | StoreSource, progress: object) -> Verdict:
    advance = progress if callable(progress) else (lambda words: None)
    verdict = verify_ledger(source, home.ledger_key(), home.statement_key(), home.known_head(), advance)
    if not verdict.problems:
        home.remember_head(verdict.note)
    return verdict


def _tell(verdict: Verdict) -> None:
    for problem in verdict.problems:
        out.print(f"[red]{problem}[/]", soft_wrap=True)
    if verdict.problems:
        out.print(f"{len(verdict.problems)} things do not hold.")
        return
    out.print(f"[green]Verified[/]: {verdict.entries} entries, their signatures and the tree over them.")
    out.print(f"{verdict.verified_blobs} blobs were hashed here.")
    if verdict.vouched_blobs:
        out.print(f"{verdict.vouched_blobs} more may not be read by you; the hub says that they are intact.")
