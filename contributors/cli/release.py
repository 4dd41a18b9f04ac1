"""`coalition release`: cut, list, download, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contributors.cli.session import connected, our_home
from contributors.cli.terminal import Json, print_json, print_messages, print_table, say, size, transfer
from trust.sentences import counted

app = typer.Typer(no_args_is_help=True, help="Signed releases: cut, list, download, verify.")

Version = Annotated[str, typer.Argument(help="For example 1.0.")]


@app.command("cut", epilog="Example: coalition release cut tiny-1.3 --version 1.0")
def cut(
    model: Annotated[str, typer.Argument(help="The model version to release.")],
    version: Annotated[str, typer.Option(help="The release's version.")],
    as_json: Json = False,
) -> None:
    """Sign and publish a release of a model version (core team)."""
    from contributors import releases

    with connected() as hub:
        cut = releases.cut(hub, model, version)
    if as_json:
        print_json({"version": cut.version, "model": cut.model, "index": cut.receipt.index})
        return
    say("Released ", (version, "bold"), f" of {model}. Fetch it: coalition release download {version} DIR")


@app.command("list", epilog="Example: coalition release list")
def list_releases(as_json: Json = False) -> None:
    """All releases."""
    with connected() as hub:
        found = hub.releases()
    if as_json:
        print_messages(found)
        return
    print_table(
        ["*version", "*model", "signed by", ">files", ">size", "recorded"],
        [
            (r.version, r.model, r.member, len(r.files), size(sum(f.size for f in r.files)), r.recorded_at[:19])
            for r in found
        ],
        "None yet. The core team cuts one with `coalition release cut MODEL --version V`.",
    )


@app.command("download", epilog="Example: coalition release download 1.0 ./coalition-1.0")
def download(
    version: Version, directory: Annotated[Path, typer.Argument(help="Where to.")], as_json: Json = False
) -> None:
    """Fetch a release with everything that proves it."""
    from contributors import releases

    with connected() as hub:
        total = sum(file.size for file in hub.release(version).files)
        with transfer(f"release {version}", total) as advance:
            release = releases.download(hub, version, directory, advance)
    if as_json:
        print_json({"version": version, "directory": str(directory), "files": len(release.files)})
    else:
        say(f"Release {version} lies in {directory}. Check it: coalition release verify {directory}")


@app.command("verify", epilog="Example: coalition release verify ./coalition-1.0")
def verify(
    directory: Annotated[Path, typer.Argument(help="A release folder.")],
    online: Annotated[bool, typer.Option("--online", help="Ask your hub's ledger too who disowned the key.")] = False,
    as_json: Json = False,
) -> None:
    """Check a release offline: every byte, the signature, its place in the ledger. Needs no hub and no enrolment.

    Whether the key that signed was disowned later, or a revocation was taken out of the folder, only the ledger tells: --online.
    """
    from contributors import releases

    found = releases.verify(directory, our_home())
    if online:
        with connected() as hub:
            releases.ask(hub, directory)
    if as_json:
        print_json(
            {
                "version": found.release.version,
                "model": found.release.model,
                "hub": found.release.hub,
                "signer": found.release.signer,
                "files": found.files,
                "bytes": found.size,
                "ledger_index": found.index,
                "asked_ledger": online,
                "keys_pinned": found.trusted.pinned,
                "keys_fingerprint": found.trusted.fingerprint(),
            }
        )
        return
    say(("Verified", "green"), f": release {found.release.version} of {found.release.model}.")
    say(f"{counted(found.files, 'file')}, {size(found.size)}, as {found.organisation} (core) signed,")
    say(f"and entry {found.index} of the ledger of {found.release.hub} records it.")
    if not found.trusted.pinned:
        say("The keys came with the folder. Compare their fingerprint with the hub's operators:")
        say(found.trusted.fingerprint())
