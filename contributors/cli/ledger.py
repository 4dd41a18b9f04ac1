"""`coalition ledger`: head, entries, verify, receipt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli import auditing
from contributors.cli.session import connected, our_home
from contributors.cli.terminal import Json, print_fields, print_json, print_messages, print_table, say, working
from trust.sentences import counted

if TYPE_CHECKING:
    from contributors.home import Home
    from contributors.ledger import Verdict
    from contributors.sources import Source
    from contributors.trusted import Trusted

app = typer.Typer(
    no_args_is_help=True, help="The ledger of everything that was accepted: read it, audit it, mirror it."
)
app.command("audit", epilog="Example: coalition ledger audit   or with no hub: coalition ledger audit --mirror DIR")(
    auditing.audit
)
app.command("mirror", epilog="Example: coalition ledger mirror /srv/mirror")(auditing.mirror)
app.command(
    "compare", epilog="Example: coalition ledger compare mine.checkpoint theirs.checkpoint --store /srv/mirror"
)(auditing.compare)


@app.command("head", epilog="Example: coalition ledger head")
def head(as_json: Json = False) -> None:
    """The signed tree head, verified."""
    from trust.notes import verify_tree_head

    home = our_home()
    with connected() as hub:
        found = hub.head()
    key = home.ledger_key()
    verify_tree_head(found.note, key, key.name)
    if as_json:
        print_json({"origin": found.origin, "size": found.size, "root": found.root.hex(), "note": found.note.decode()})
        return
    print_fields([("origin", found.origin), ("entries", found.size), ("root", found.root.hex())])
    say(found.note.decode("utf-8", "replace"))


@app.command("entries", epilog="Example: coalition ledger entries --start 10")
def entries(
    start: Annotated[int, typer.Option(help="First entry.")] = 0,
    count: Annotated[int, typer.Option(help="How many; 0 for up to 1,000.")] = 0,
    as_json: Json = False,
) -> None:
    """What the ledger records."""
    with connected() as hub:
        found = hub.entries(start, count)
    if as_json:
        print_messages(found)
        return
    print_table(
        [">index", "time", "kind", "signer", "*id"],
        [(e.index, e.time[:19], e.kind, e.signer, e.id) for e in found],
        "The ledger is empty.",
    )


@app.command("verify", epilog="Example: coalition ledger verify   or offline: coalition ledger verify --store /srv/hub")
def verify(
    store: Annotated[Path | None, typer.Option(help="A hub's directory, to verify from its files.")] = None,
    key: auditing.Key = "",
    hub_key: auditing.HubKey = None,
    as_json: Json = False,
) -> None:
    """Recompute everything: the tree, every signature, every blob; exit code 1 if anything does not hold."""
    from contributors.sources import HubSource, StoreSource
    from contributors.trusted import Trusted, trusted_for

    home = our_home()
    with working("verifying") as progress:
        if store is not None:
            trusted = trusted_for(home, store, key, hub_key)
            verdict = _verify(home, StoreSource(store), trusted, progress)
        else:
            with connected() as hub:
                trusted = Trusted.of(home)
                verdict = _verify(home, HubSource(hub), trusted, progress)
    if as_json:
        print_json(
            {
                "size": verdict.head.size,
                "root": verdict.head.root.hex(),
                "entries": verdict.entries,
                "blobs_verified": verdict.verified_blobs,
                "blobs_vouched": verdict.vouched_blobs,
                "blobs_purged": verdict.purged_blobs,
                "problems": verdict.problems,
                "quarantined": verdict.quarantined,
                "notes": verdict.notes,
                **auditing.keys_as_dict(trusted),
            }
        )
    else:
        auditing.tell_keys(trusted)
        _tell(verdict)
    if verdict.problems:
        raise typer.Exit(1)


@app.command("receipt", epilog="Example: coalition ledger receipt data-1a2b3c4d5e6f")
def receipt(
    identifier: Annotated[str, typer.Argument(help="What was recorded, or an entry's number.")],
    offline: Annotated[bool, typer.Option("--offline", help="Verify the receipt that you keep; needs no hub.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a receipt, verify it, keep it in your home: it verifies offline from then on."""
    from contributors.receipts import keep_receipt, kept_receipt
    from contributors.witness.standing import standing

    home, final = our_home(), None
    if not offline:
        with connected() as hub:
            keep_receipt(home, identifier, hub.receipt(identifier))
            found = standing(hub)
        home.remember_witnesses(each.vkey for each in found.witnesses)
        final = found.final
    kept = kept_receipt(home, identifier)
    if as_json:
        shown: dict[str, object] = {"index": kept.index, "size": kept.head.size, "path": str(kept.path)}
        shown |= {"entry": kept.leaf.model_dump(mode="json"), "cosigned_by": kept.cosigned_by}
        print_json(shown if final is None else {**shown, "final": kept.index < final})
        return
    say(("Verified", "green"), f": entry {kept.index} of {kept.head.size} records {kept.leaf.kind} {kept.leaf.id}.")
    if kept.cosigned_by:
        say(f"Cosigned by the witnesses of {', '.join(kept.cosigned_by)}.")
    if final is not None and kept.index >= final:
        say(("Pending", "yellow"), ": a quorum of witnesses has not cosigned it yet; fetch the receipt again later.")
    say(f"Receipt: {kept.path}")


def _verify(home: Home, source: Source, trusted: Trusted, progress: object) -> Verdict:
    from contributors.ledger import verify_ledger
    from contributors.rewriting import explained
    from contributors.seen import Seen, remember
    from trust.errors import Corrupt

    advance = progress if callable(progress) else (lambda words: None)
    if not auditing.knows(home, trusted):
        return verify_ledger(source, trusted.ledger_key, trusted.hub_key, None, advance)
    try:
        verdict = verify_ledger(source, trusted.ledger_key, trusted.hub_key, Seen.of(home), advance)
    except Corrupt as problem:
        raise explained(home, source, problem) from None
    if not verdict.problems:
        remember(home, verdict.note, verdict.leaves)
    return verdict


def _tell(verdict: Verdict) -> None:
    for note in verdict.notes:
        say((note, "yellow"))
    for entry in verdict.quarantined:
        say((entry, "yellow"))
    for problem in verdict.problems:
        say((problem, "red"))
    if verdict.problems:
        say(f"Not verified: {counted(len(verdict.problems), 'problem')}.")
        return
    say(
        ("Verified", "green"),
        f": {counted(verdict.entries, 'entry', 'entries')}, their signatures and the tree over them.",
    )
    say(f"Blobs hashed here: {verdict.verified_blobs}.")
    if verdict.vouched_blobs:
        say(f"Intact by the hub's word, for you may not read them: {verdict.vouched_blobs}.")
    if verdict.purged_blobs:
        say(f"Purged after their withdrawal, as the ledger says: {verdict.purged_blobs}.")
