"""`coalition data` and `coalition suite`: submit, list, show."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from contributors.cli.terminal import (
    Json,
    as_dict,
    out,
    print_fields,
    print_json,
    print_messages,
    print_table,
    size,
    transfer,
)
from contributors.client import Coalition
from contributors.home import Home
from contributors.packing import Packed, pack_dataset, pack_suite
from protos.coalition.v1 import submissions_pb2
from protos.documents.base import Claim
from protos.documents.submissions import Dataset, DatasetFile, Suite
from trust.errors import NotFound

data = typer.Typer(no_args_is_help=True, help="Domain datasets: submit, list, show.")
suite = typer.Typer(no_args_is_help=True, help="Evaluation suites: submit, list, show.")

Source = Annotated[Path, typer.Argument(help="A file, or a folder of files.")]
Identifier = Annotated[str, typer.Argument(help="As the list shows it, for example data-1a2b3c4d5e6f.")]
Visibility = Annotated[str, typer.Option(help="Who may read it: hub (you, the hub and its nodes) or members.")]


@data.command(
    "submit", epilog="Example: coalition data submit texts/ --name contracts --domain law --licence CC-BY-4.0"
)
def submit_data(
    path: Source,
    name: Annotated[str, typer.Option(help="Its name among your datasets.")],
    domain: Annotated[str, typer.Option(help="What it is about, for example law.")],
    licence: Annotated[str, typer.Option(help="SPDX expression, for example CC-BY-4.0.")],
    provenance: Annotated[str, typer.Option(help="Where it comes from, in a sentence.")] = "contributed by its owner",
    visibility: Visibility = "hub",
    as_json: Json = False,
) -> None:
    """Pack, sign and submit text (.jsonl with a `text` in every row, .txt, .md, .parquet)."""
    with Coalition(Home.default()) as hub, tempfile.TemporaryDirectory(prefix="coalition-") as folder:
        packed = pack_dataset(path, Path(folder), name=name, domain=domain, licence=licence, provenance=provenance)
        manifest = Dataset.read(
            {
                "hub": hub.identity.hub,
                "signer": hub.identity.id,
                "name": name,
                "domain": domain,
                "licence": licence,
                "provenance": provenance,
                "visibility": visibility,
                "rows": packed.rows,
                "files": [file.model_dump() for file in packed.files if isinstance(file, DatasetFile)],
            }
        )
        _submit(hub, manifest, packed, as_json)


@suite.command("submit", epilog="Example: coalition suite submit my-suite/")
def submit_suite(path: Source, visibility: Visibility = "members", as_json: Json = False) -> None:
    """Check, sign and submit a suite: a folder with suite.json and the JSONL files that it names."""
    found, packed = pack_suite(path)
    with Coalition(Home.default()) as hub:
        manifest = Suite.read(
            {
                "hub": hub.identity.hub,
                "signer": hub.identity.id,
                "name": found.name,
                "version": found.version,
                "domain": found.domain,
                "licence": found.licence,
                "visibility": visibility,
                "files": [file.model_dump() for file in packed.files],
            }
        )
        _submit(hub, manifest, packed, as_json)


@data.command("list", epilog="Example: coalition data list --json")
def list_data(as_json: Json = False) -> None:
    """All datasets, and your own that are not accepted yet."""
    _list("dataset", as_json)


@suite.command("list", epilog="Example: coalition suite list")
def list_suites(as_json: Json = False) -> None:
    """All suites, and your own that are not accepted yet."""
    _list("suite", as_json)


@data.command("show", epilog="Example: coalition data show data-1a2b3c4d5e6f")
def show_data(identifier: Identifier, as_json: Json = False) -> None:
    """One dataset in full."""
    _show("dataset", identifier, as_json)


@suite.command("show", epilog="Example: coalition suite show suite-1a2b3c4d5e6f")
def show_suite(identifier: Identifier, as_json: Json = False) -> None:
    """One suite in full."""
    _show("suite", identifier, as_json)


def _submit(hub: Coalition, manifest: Claim, packed: Packed, as_json: bool) -> None:
    with transfer("sending", packed.size) as advance:
        accepted = hub.submit(hub.sign(manifest), packed.paths, advance)
    receipt = hub.home.save_receipt(accepted.id, accepted.receipt.leaf, accepted.receipt.proof)
    if as_json:
        print_json(as_dict(accepted))
        return
    out.print(f"{accepted.kind.capitalize()} [bold]{accepted.id}[/] is accepted: {_content(accepted)}.")
    for finding in accepted.findings:
        if finding.severity != "info":
            out.print(f"{finding.severity}: {finding.message}")
    out.print(f"Receipt: {receipt}")


def _list(kind: str, as_json: bool) -> None:
    with Coalition(Home.default()) as hub:
        found = hub.submissions(kind)
    if as_json:
        print_messages(found)
        return
    noun = "data" if kind == "dataset" else "suite"
    print_table(
        ["id", "name", "member", "domain", "licence", "state", ">size", "recorded"],
        [(s.id, s.name, s.member, s.domain, s.licence, s.state, size(s.size), s.recorded_at[:19]) for s in found],
        f"None yet. Submit one with `coalition {noun} submit`.",
    )


def _show(kind: str, identifier: str, as_json: bool) -> None:
    with Coalition(Home.default()) as hub:
        found = hub.submission(identifier)
    if found.kind != kind:
        raise NotFound(f"{identifier} is a {found.kind}, not a {kind}.")
    if as_json:
        print_json(as_dict(found))
        return
    print_fields(
        [
            ("id", found.id),
            ("name", " ".join(part for part in (found.name, found.version) if part)),
            ("member", found.member),
            ("domain", found.domain),
            ("licence", found.licence),
            ("visibility", found.visibility),
            ("state", found.state),
            ("content", _content(found)),
            ("tasks", ", ".join(found.tasks)),
            ("recorded", found.recorded_at),
            ("ledger entry", found.receipt.index if found.receipt.leaf else ""),
        ]
    )
    print_table(["file", ">size", "digest"], [(f.path, size(f.size), f.digest) for f in found.files], "")
    for finding in found.findings:
        out.print(f"{finding.rule} ({finding.severity}): {finding.message}")


def _content(found: submissions_pb2.Submission) -> str:
    rows = f"{found.rows} rows, " if found.rows else ""
    return f"{rows}{size(found.size)} in {len(found.files)} files"
