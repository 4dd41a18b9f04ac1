"""`coalition witness`: start, status, policy, proof."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli.session import connected, our_home
from contributors.cli.terminal import Json, as_dict, err, print_fields, print_json, print_table, say

if TYPE_CHECKING:
    from contributors.witness.cosigner import Event, Tell

app = typer.Typer(
    no_args_is_help=True,
    help="Witness the ledger: cosign its tree heads, so that nobody can be shown another history.",
)


@app.command("start", epilog="Example: coalition witness start   (a running site witnesses already)")
def start(
    listen: Annotated[
        str, typer.Option(help="HOST:PORT to answer C2SP tlog-witness at, over plain HTTP, beside the hub.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print events as lines of JSON.")] = False,
) -> None:
    """Cosign the hub's tree heads until Ctrl-C. Refuses whatever does not extend the last one; keeps proof of it."""
    from contributors.witness.attachment import attached, refuse_unfit
    from contributors.witness.listening import listening

    refuse_unfit(our_home().identity())
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with ExitStack() as stack:
        tell = _lines() if as_json else _live(stack)
        cosigner = stack.enter_context(attached(our_home(), tell))
        if listen:
            stack.enter_context(listening(cosigner, listen))
        if not as_json:
            say(f"Witness key: {cosigner.key.public.encode()}")
        while not stopped.wait(1.0):
            pass


@app.command("status", epilog="Example: coalition witness status --json")
def status(as_json: Json = False) -> None:
    """Who witnesses, and how much of the ledger is final."""
    from contributors.witness.standing import standing

    with connected() as hub:
        found = standing(hub)
    if as_json:
        print_json({**as_dict(found), "newest": found.newest.decode(), "witnessed": found.witnessed.decode()})
        return
    print_fields([("entries", str(found.size)), ("final", str(found.final)), ("rule", found.rule)])
    print_table(
        ["member", "attached", "counts", ">cosigned", "time", "trouble"],
        [
            (each.member, _yes(each.attached), _yes(each.counted), each.size or "", each.time, each.trouble)
            for each in found.witnesses
        ],
        "No witness is enrolled. Members run `coalition witness start`, or their site does.",
    )


@app.command("policy", epilog="Example: coalition witness policy --quorum 3")
def policy(
    quorum: Annotated[int, typer.Option(min=0, help="Cosignatures that make a tree head final; 0 asks for none.")],
    as_json: Json = False,
) -> None:
    """For the core team: sign how many members' witnesses make an entry final. Without a policy it is their majority."""
    from contributors.witness.standing import set_policy
    from protos.documents.witnesses import WitnessPolicy

    with connected() as hub:
        claim = WitnessPolicy(hub=hub.identity.hub, signer=hub.identity.id, quorum=quorum)
        hub.home.forget_statement(claim)  # an earlier one of the same words may have been replaced since
        recorded = set_policy(hub, hub.sign(claim))
    if as_json:
        print_json(as_dict(recorded))
        return
    say(("Recorded", "green"), f": a quorum of {quorum}, from entry {recorded.receipt.index} on.")
    if not quorum:
        say(
            ("Warning", "yellow"), ": every entry is final at once now, and nobody but the hub vouches for its history."
        )


@app.command("proof", epilog="Example: coalition witness proof fork.json --key europe+1a2b3c4d+AbCd...")
def proof(
    file: Annotated[Path, typer.Argument(help="A proof that a witness kept.")],
    key: Annotated[str, typer.Option(help="The ledger's public key; by default the one of your home.")] = "",
    as_json: Json = False,
) -> None:
    """Verify, with no hub, that a ledger's key signed two histories; exit code 1 when the file does not prove it."""
    from trust.forks import MAX_BYTES, Fork, verify_fork
    from trust.keys import LogPublicKey

    ledger_key = LogPublicKey.decode(key) if key else our_home().ledger_key()
    with file.open("rb") as opened:
        smaller, larger = verify_fork(Fork.decode(opened.read(MAX_BYTES + 1)), ledger_key)
    if as_json:
        heads = [{"size": head.size, "root": head.root.hex()} for head in (smaller, larger)]
        print_json({"origin": smaller.origin, "heads": heads})
        return
    say(("Proven", "bold red"), f": the key of {smaller.origin} signed two histories.")
    for head in (smaller, larger):
        say(f"  {head.size} entries, root {head.root.hex()}")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _lines() -> Tell:
    return lambda event: typer.echo(json.dumps(event.as_dict()))


def _live(stack: ExitStack) -> Tell:
    """One line that keeps up, and a sentence for everything that is not a matter of course."""
    shown = stack.enter_context(err.status("attaching"))
    counts = {"cosigned": 0}

    def tell(event: Event) -> None:
        if event.kind == "cosigned":
            counts["cosigned"] += 1
            shown.update(f"head {event.size} cosigned; {counts['cosigned']} so far")
        elif event.kind == "attached":
            shown.update("attached")
            say(f"Attached to {event.message}.", to=err)
        else:
            style = "bold red" if event.kind in ("fork", "suspect") else ""
            where = f" See {event.path}." if event.path else ""
            say((f"{event.kind}: {event.message}{where}", style), to=err)

    return tell
