"""`coalition ledger audit`, `mirror` and `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli.session import connected, our_home
from contributors.cli.terminal import Json, print_fields, print_json, say, working

if TYPE_CHECKING:
    from contributors.audit import Audited, Served
    from contributors.home import Home
    from contributors.sources import Source
    from contributors.trusted import Trusted

Store = Annotated[Path | None, typer.Option(help="A hub's directory, to read its files instead of asking it.")]
Mirror = Annotated[Path | None, typer.Option("--mirror", help="A mirror; needs no hub and no enrolment.")]
Key = Annotated[str, typer.Option(help="The ledger's public key, offline; by default your home's, or the copy's own.")]
HubKey = Annotated[
    Path | None, typer.Option(help="The hub's public statement key (PEM), offline; by default as --key.")
]


def audit(
    store: Store = None, mirror_dir: Mirror = None, key: Key = "", hub_key: HubKey = None, as_json: Json = False
) -> None:
    """Replay the whole ledger: every signature, how models came about, every score from its per-item log, the leaderboard.

    Exit code 1, and the first entry that disagrees, when anything does not hold or is withheld from you.
    """
    from contributors.audit import Served
    from contributors.sources import HubSource, MirrorSource, StoreSource
    from contributors.trusted import Trusted, trusted_for

    home, directory = our_home(), mirror_dir or store
    with working("auditing") as progress:
        if directory is not None:
            trusted = trusted_for(home, directory, key, hub_key)
            source = MirrorSource(directory) if mirror_dir else StoreSource(directory)
            audited = _audit(home, source, trusted, None, progress)
        else:
            with connected() as hub:
                trusted = Trusted.of(home)
                audited = _audit(home, HubSource(hub), trusted, Served.by(hub), progress)
    if as_json:
        print_json(_as_dict(audited) | keys_as_dict(trusted))
    else:
        tell_keys(trusted)
        _tell(audited)
    if not audited.holds:
        raise typer.Exit(1)


def mirror(
    directory: Annotated[Path, typer.Argument(help="Where the mirror is, or shall be.")],
    as_json: Json = False,
) -> None:
    """Copy tiles, heads, cosignatures and every blob that you may read, verified. Run it again to bring it up to date."""
    from contributors.mirror import mirror as copy

    with working("mirroring") as progress, connected() as hub:
        found = copy(hub, directory, progress)
    figures = {"size": found.head.size, "fetched": found.fetched, "present": found.present, "private": found.private}
    figures["purged"] = found.purged
    if as_json:
        print_json(figures)
        return
    say(("Mirrored", "green"), f": {found.head.size} entries; {found.fetched} blobs came, {found.present} were here.")
    if found.private:
        say(f"{found.private} blobs may not be read by you.")
    if found.purged:
        say(f"{found.purged} blobs were purged after their withdrawal, and are not in the mirror.")


def compare(
    notes: Annotated[list[Path], typer.Argument(help="Signed tree heads of one ledger, from whomever.")],
    store: Store = None,
    proof: Annotated[Path, typer.Option(help="Where the proof goes.")] = Path("fork.json"),
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Whether tree heads that were shown to different people can be of one history; exit code 1, and a proof, when not.

    Heads of different sizes are compared through a ledger that holds the larger: the hub's, or a directory (--store).
    """
    from contributors.rewriting import find_fork
    from contributors.sources import HubSource, StoreSource
    from contributors.trusted import ledger_key_for
    from trust.files import write_atomic

    home, heads = our_home(), [path.read_bytes() for path in notes]
    if store is not None:
        found = find_fork(heads, ledger_key_for(home, store, key), StoreSource(store))
    else:
        with connected() as hub:
            found = find_fork(heads, home.ledger_key(), HubSource(hub))
    if found is not None:
        write_atomic(proof, found.encode())
    if as_json:
        print_json({"one_history": found is None, "proof": str(proof) if found else ""})
    elif found is None:
        say(("One history", "green"), f": the {len(heads)} heads extend one another.")
    else:
        say(("Two histories", "bold red"), f": the ledger's key signed both. Proof: {proof}")
    if found is not None:
        raise typer.Exit(1)


def keys_as_dict(trusted: Trusted) -> dict[str, object]:
    return {"keys_pinned": trusted.pinned, "keys_fingerprint": trusted.fingerprint()}


def tell_keys(trusted: Trusted) -> None:
    if not trusted.pinned:
        say(
            ("Warning", "yellow"),
            ": the keys came with the copy, so it may be of any ledger. Compare their fingerprint:",
        )
        say(f"  {trusted.fingerprint()}")


def _audit(home: Home, source: Source, trusted: Trusted, served: Served | None, progress: object) -> Audited:
    from contributors.audit import audit as replay
    from contributors.rewriting import explained
    from contributors.seen import remember
    from trust.errors import Corrupt

    advance = progress if callable(progress) else (lambda words: None)
    if not knows(home, trusted):
        return replay(None, source, trusted, served, advance)
    try:
        audited = replay(home, source, trusted, served, advance)
    except Corrupt as problem:
        raise explained(home, source, problem) from None
    if audited.holds:
        remember(home, audited.verdict.note, audited.verdict.leaves)
    return audited


def knows(home: Home, trusted: Trusted) -> bool:
    """Whether what our home remembers is of this ledger."""
    return home.enrolled and home.ledger_key() == trusted.ledger_key


def _as_dict(audited: Audited) -> dict[str, object]:
    verdict = audited.verdict
    return {
        "size": verdict.head.size,
        "root": verdict.head.root.hex(),
        "final": audited.final,
        "entries": verdict.entries,
        "blobs_verified": verdict.verified_blobs,
        "blobs_vouched": verdict.vouched_blobs,
        "blobs_absent": verdict.absent_blobs,
        "blobs_purged": verdict.purged_blobs,
        "scores_recomputed": audited.scores_checked,
        "logs_sealed": audited.logs_sealed,
        "problems": verdict.problems,
        "findings": [{"index": index, "what": what} for index, what in audited.findings],
        "first": audited.first,
        "warnings": [{"index": index, "what": what} for index, what in audited.warnings],
        "quarantined": verdict.quarantined,
        "notes": verdict.notes,
        "leaderboard": [
            {"model": model, "column": column, "value": cell.score.value, "entry": cell.index}
            for (model, column), cell in audited.board.cells.items()
        ],
    }


def _tell(audited: Audited) -> None:
    verdict = audited.verdict
    for note in verdict.notes:
        say((note, "yellow"))
    for problem in verdict.problems:
        say((problem, "red"))
    for index, what in audited.findings:
        say((f"Entry {index}: {what}", "red"))
    for index, what in audited.warnings:
        say(("Warning", "yellow"), f": entry {index}: {what} If nobody of yours did, revoke your key.")
    if not audited.holds:
        first = "" if audited.first is None else f" The first is entry {audited.first}."
        say(f"{len(verdict.problems) + len(audited.findings)} things do not hold.{first}")
        return
    say(
        ("Holds", "green"),
        f": {verdict.entries} entries, {audited.final} of them final, and all that follows from them.",
    )
    print_fields(
        [
            ("blobs hashed", verdict.verified_blobs),
            ("vouched for by the hub", verdict.vouched_blobs or ""),
            ("not in the mirror", verdict.absent_blobs or ""),
            ("purged after a withdrawal", verdict.purged_blobs or ""),
            ("scores recomputed", f"{audited.scores_checked} of {len(audited.board.cells)} on the leaderboard"),
            (
                "per-item logs of sealed suites",
                f"{audited.logs_sealed}, not for you to read" if audited.logs_sealed else "",
            ),
        ]
    )
