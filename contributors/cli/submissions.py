"""`coalition data` and `coalition suite`: submit, list, show, withdraw, policy; and tasks to submit."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli.session import connected
from contributors.cli.showing import content, fate, noun, print_croissant, print_list, print_one
from contributors.cli.terminal import (
    Json,
    as_dict,
    err,
    print_fields,
    print_json,
    say,
    transfer,
)
from trust.errors import Conflict, Invalid, NotFound
from trust.sentences import counted

if TYPE_CHECKING:
    from contributors.client import Coalition
    from contributors.packing import Packed
    from protos.documents.base import Claim

data = typer.Typer(no_args_is_help=True, help="Domain datasets: submit, list, show, withdraw, policy.")
suite = typer.Typer(no_args_is_help=True, help="Evaluation suites: submit, list, show, withdraw.")

Source = Annotated[Path, typer.Argument(help="A file, or a folder of files.")]
Identifier = Annotated[str, typer.Argument(help="As the list shows it, for example data-1a2b3c4d5e6f.")]
Category = Annotated[
    str,
    typer.Option(help="open, unique-open, controlled (you, the hub and its nodes), private or sovereign (stays here)."),
]
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
    category: Category = "controlled",
    jurisdiction: Annotated[
        list[str] | None,
        typer.Option(help="Where it may be processed: NL, EU, EEA, world (the default); may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack, sign and submit text (.jsonl with a `text` in every row, .txt, .md, .parquet).

    Of a row, `text`, `title` and `source` are submitted; any other field stays here. Of private and sovereign data only
    the manifest is submitted: which files there are, not what they say.
    """
    from contributors.packing import list_dataset, pack_dataset
    from contributors.texts import size_of_texts
    from protos.documents.placing import AT_HOME
    from protos.documents.submissions import Dataset

    with connected() as hub, tempfile.TemporaryDirectory(prefix="coalition-") as folder:
        check_licence_here(hub, licence)
        with transfer("packing", size_of_texts(path)) as advance:
            packed = list_dataset(path, advance) if category in AT_HOME else pack_dataset(path, Path(folder), advance)
        manifest = Dataset.read(
            {
                "hub": hub.identity.hub,
                "signer": hub.identity.id,
                "name": name,
                "domain": domain,
                "licence": licence,
                "provenance": provenance,
                "category": category,
                "jurisdiction": jurisdiction or ["world"],
                "rows": packed.rows,
                "files": [file.model_dump() for file in packed.files],
            }
        )
        if packed.left_out:
            say(f"Left out, as of no kind that holds text: {', '.join(packed.left_out[:10])}", to=err)
        send(hub, manifest, packed, as_json)


@suite.command("submit", epilog="Example: coalition suite submit my-suite/ --sealed")
def submit_suite(
    path: Source,
    visibility: Visibility = "members",
    sealed: Annotated[bool, typer.Option("--sealed", help="Encrypted at the hub; others see scores only.")] = False,
    as_json: Json = False,
) -> None:
    """Check, sign and submit a suite: a folder with suite.json and the JSONL files that it names."""
    from contributors.packing import pack_suite
    from protos.documents.submissions import Suite

    found, packed = pack_suite(path)
    with connected() as hub:
        check_licence_here(hub, found.licence)
        manifest = Suite.read(
            {
                "hub": hub.identity.hub,
                "signer": hub.identity.id,
                "name": found.name,
                "version": found.version,
                "domain": found.domain,
                "licence": found.licence,
                "visibility": "sealed" if sealed else visibility,
                "files": [file.model_dump() for file in packed.files],
            }
        )
        send(hub, manifest, packed, as_json)


@data.command("list", epilog="Example: coalition data list --json")
def list_data(as_json: Json = False) -> None:
    """All datasets, and your own that are not accepted yet."""
    print_list("dataset", as_json)


@suite.command("list", epilog="Example: coalition suite list")
def list_suites(as_json: Json = False) -> None:
    """All suites, and your own that are not accepted yet."""
    print_list("suite", as_json)


@data.command("show", epilog="Example: coalition data show data-1a2b3c4d5e6f")
def show_data(
    identifier: Identifier,
    croissant: Annotated[
        bool, typer.Option("--croissant", help="Print its Croissant metadata, for catalogues.")
    ] = False,
    as_json: Json = False,
) -> None:
    """One dataset in full."""
    if croissant:
        print_croissant(identifier)
        return
    print_one("dataset", identifier, as_json)


@suite.command("show", epilog="Example: coalition suite show suite-1a2b3c4d5e6f")
def show_suite(identifier: Identifier, as_json: Json = False) -> None:
    """One suite in full."""
    print_one("suite", identifier, as_json)


Reason = Annotated[str, typer.Option(help="Why, for everybody to read.")]


@data.command("withdraw", epilog="Example: coalition data withdraw data-1a2b3c4d5e6f --reason 'consent was revoked'")
def withdraw_data(identifier: Identifier, reason: Reason = "withdrawn by its owner", as_json: Json = False) -> None:
    """Withdraw a dataset: no run uses it and nobody reads it any more. What it reached stays on record, marked."""
    withdraw("dataset", identifier, reason, as_json)


@suite.command("withdraw", epilog="Example: coalition suite withdraw suite-1a2b3c4d5e6f")
def withdraw_suite(identifier: Identifier, reason: Reason = "withdrawn by its owner", as_json: Json = False) -> None:
    """Withdraw a suite: no model is evaluated with it any more. Its scores stay."""
    withdraw("suite", identifier, reason, as_json)


@data.command("policy", epilog="Example: coalition data policy")
def show_policy(as_json: Json = False) -> None:
    """Which licences the hub takes, where it stands, who may withdraw, and what becomes of the bytes."""
    with connected() as hub:
        policy = hub.policy()
    if as_json:
        print_json(as_dict(policy))
        return
    print_fields(
        [
            ("licences taken", "any" if "*" in policy.licences_allowed else ", ".join(policy.licences_allowed)),
            ("refused, unless taken by name", ", ".join(policy.licences_denied)),
            ("the hub stands in", policy.country or "it does not say"),
            ("who may withdraw", "its owner, or the core team" if policy.core_may_withdraw else "its owner alone"),
            ("what is withdrawn", fate(policy)),
        ]
    )


@data.command("tasks", epilog="Example: coalition data tasks tasks.jsonl --of basic_arithmetic --of gcd --rows 500")
def write_tasks(
    target: Annotated[Path | None, typer.Argument(help="The file to write, JSON Lines.")] = None,
    of: Annotated[list[str] | None, typer.Option(help="A generator of reasoning-gym; may be repeated.")] = None,
    rows: Annotated[int, typer.Option(help="How many tasks.", min=1, max=1_000_000)] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed writes the same tasks.", min=0)] = 0,
    listed: Annotated[bool, typer.Option("--list", help="Print the generators that can be taken.")] = False,
    as_json: Json = False,
) -> None:
    """Write tasks with verifiable answers, for a site that takes part in campaigns of GRPO. Needs coalition[tasks].

    Submit the folder then as private data: coalition data submit DIR --category private
    """
    from contributors.verifiable import generators, task_rows
    from trust.files import write_atomic

    if listed:
        names = sorted(name for name, plain in generators().items() if plain)
        print_json(names) if as_json else say("\n".join(names))
        return
    if target is None or not of:
        raise Invalid("Which tasks, and where to?", "Name a file, and generators with --of; --list shows them.")
    if target.exists():
        raise Conflict(f"{target} is there already.", "Name another file.")
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in task_rows(of, rows, seed)]
    write_atomic(target, "".join(lines).encode())
    if as_json:
        print_json({"file": str(target), "rows": len(lines)})
        return
    say(f"{target} holds {counted(len(lines), 'task')}.")


def check_licence_here(hub: Coalition, expression: str) -> None:
    """What the hub would refuse is refused before anything is packed. Raises `Invalid`."""
    from protos.documents.licences import LicencePolicy, check_licence

    check_licence(expression)
    policy = hub.policy()
    taken = LicencePolicy(allowed=tuple(policy.licences_allowed), denied=tuple(policy.licences_denied))
    if refusal := taken.refusal(expression):
        raise Invalid(refusal, "See `coalition data policy`.", field="licence")


def send(hub: Coalition, manifest: Claim, packed: Packed, as_json: bool) -> None:
    """Sign, submit and say what became of it. Raises `Conflict` for what was withdrawn before."""
    from contributors.receipts import keep_receipt

    statement = hub.sign(manifest)
    with transfer("sending", packed.size) as advance:
        accepted = hub.submit(statement, packed.sources, advance, _watch)
    if accepted.withdrawn_at:
        what = f"{accepted.id} is the same, and was withdrawn at {accepted.withdrawn_at}."
        raise Conflict(what, "Give it another name" + (" or version." if accepted.kind == "suite" else "."))
    receipt = keep_receipt(hub.home, accepted.id, accepted.receipt, statement.envelope)
    if as_json:
        print_json(as_dict(accepted))
        return
    state = "recorded" if accepted.state == "pending" else accepted.state
    say(f"{accepted.kind.capitalize()} ", (accepted.id, "bold"), f" is {state}: {content(accepted)}.")
    if accepted.state == "pending":
        say(("Pending", "yellow"), ": it is not final before a quorum of the members' witnesses has cosigned it.")
        say(f"That happens by itself; this tells when: coalition {noun(accepted.kind)} show {accepted.id}")
    for finding in accepted.findings:
        if finding.severity != "info":
            say(f"{finding.severity}: {finding.message}")
    if any(finding.examples for finding in accepted.findings):
        say(f"Which rows: coalition {noun(accepted.kind)} show {accepted.id}")
    say(f"Receipt: {receipt}")


def _watch(rows: int, total: int) -> None:
    say(f"Screening: {rows} of {total} rows", to=err)


def withdraw(kind: str, identifier: str, reason: str, as_json: bool) -> None:
    """Sign a withdrawal and say what it reached. Raises `NotFound` for a submission of another kind."""
    from contributors.receipts import keep_receipt
    from protos.documents.submissions import Withdrawal

    with connected() as hub:
        if (found := hub.submission(identifier)).kind != kind:
            raise NotFound(f"{identifier} is a {found.kind}, not a {kind}.")
        names = {"hub": hub.identity.hub, "signer": hub.identity.id}
        statement = hub.sign(Withdrawal.read({**names, "submission": identifier, "reason": reason}))
        recorded, policy = hub.withdraw(statement), hub.policy()
        keep_receipt(hub.home, recorded.id, recorded.receipt, statement.envelope)
        reached = [model.id for model in hub.models() if identifier in model.withdrawn]
    if as_json:
        print_json({"id": recorded.id, "index": recorded.receipt.index, "reached": reached})
        return
    say((identifier, "bold"), f" is withdrawn, by entry {recorded.receipt.index} of the ledger.")
    if found.files:
        say(f"Its bytes: {fate(policy)}.")
    if reached:
        say(f"It reached {', '.join(reached)}; their lineage says so from now on.")
