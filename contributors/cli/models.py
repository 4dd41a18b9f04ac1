"""`coalition model`: list, show, lineage, download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli.session import connected
from contributors.cli.terminal import (
    Json,
    as_dict,
    print_fields,
    print_json,
    print_messages,
    print_table,
    say,
    size,
    transfer,
)
from trust.sentences import counted

if TYPE_CHECKING:
    from protos.coalition.v1 import models_pb2

app = typer.Typer(no_args_is_help=True, help="Model versions: list, show, lineage, download.")

Identifier = Annotated[str, typer.Argument(help="For example tiny-1.3.")]


@app.command("list", epilog="Example: coalition model list")
def list_models(as_json: Json = False) -> None:
    """All model versions."""
    with connected() as hub:
        models = hub.models()
    if as_json:
        print_messages(models)
        return
    print_table(
        ["*id", "parent", "from", ">parameters", "recorded", "withdrawn data"],
        [(m.id, m.parent, m.source, f"{m.parameters:,}", m.recorded_at[:19], ", ".join(m.withdrawn)) for m in models],
        "None yet: models come from base runs and rounds.",
    )


@app.command("show", epilog="Example: coalition model show tiny-1")
def show(identifier: Identifier, as_json: Json = False) -> None:
    """One model version in full."""
    with connected() as hub:
        model = hub.model(identifier)
    if as_json:
        print_json(as_dict(model))
        return
    print_fields(
        [
            ("id", model.id),
            ("parent", model.parent),
            ("from", f"{model.source} round {model.round}" if model.round else model.source),
            ("licence", model.licence),
            ("provenance", model.provenance),
            ("architecture", model.architecture),
            ("parameters", f"{model.parameters:,}"),
            ("tokens", f"{model.tokens:,}" if model.tokens else ""),
            ("recorded", model.recorded_at),
            ("ledger entry", model.receipt.index),
        ]
    )
    print_table(["file", ">size", "digest"], [(f.path, size(f.size), f.digest) for f in model.files], "")


@app.command("lineage", epilog="Example: coalition model lineage tiny-1.3")
def lineage(identifier: Identifier, as_json: Json = False) -> None:
    """Whose data and which rounds are in a model."""
    with connected() as hub:
        found = hub.lineage(identifier)
    if as_json:
        print_json(as_dict(found))
        return
    for model in found.models:
        made = "trained by others" if model.origin == "import" else "base run"
        origin = f"round {model.round} of {model.source}" if model.round else f"{made} {model.source}"
        say((model.id, "bold"), f"  {origin}", (_reached_by(model), "yellow"))
        parts = [(p.member, p.examples, f"{p.weight:.3f}") for p in found.members if p.model == model.id]
        if parts:
            print_table(["  member", ">examples", ">weight"], [(f"  {m}", e, w) for m, e, w in parts], "")
    say(("data", "bold"))
    print_table(
        ["*  dataset", "name", "member", "domain", "category", "licence", ">tokens", "withdrawn"],
        [
            (
                *(f"  {d.dataset}", d.name, d.member, d.domain, d.category),
                d.licence,
                f"{d.tokens:,}",
                d.withdrawn_at[:19],
            )
            for d in found.data
        ],
        "  none",
    )


def _reached_by(model: models_pb2.Model) -> str:
    return f"  reached by withdrawn data: {', '.join(model.withdrawn)}" if model.withdrawn else ""


@app.command("download", epilog="Example: coalition model download tiny-1 ./tiny-1")
def download(
    identifier: Identifier, directory: Annotated[Path, typer.Argument(help="Where to.")], as_json: Json = False
) -> None:
    """Fetch a model version as a Hugging Face folder, every file verified."""
    with connected() as hub:
        model = hub.model(identifier)
        with transfer(identifier, sum(file.size for file in model.files)) as advance:
            for file in model.files:
                hub.download(file, directory, advance)
    if as_json:
        print_json({"model": identifier, "directory": str(directory), "files": [file.path for file in model.files]})
    else:
        say(f"{identifier} lies in {directory}, {counted(len(model.files), 'file')}.")
