"""`coalition campaign`: open, join, follow, pause and stop campaigns of federated rounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contributors.cli.session import connected
from contributors.cli.specs import hold_of, read_spec, stop_of
from contributors.cli.terminal import (
    Json,
    as_dict,
    print_fields,
    print_json,
    print_messages,
    print_table,
    say,
    say_recorded,
)
from contributors.cli.watching import follow

if TYPE_CHECKING:
    from protos.coalition.v1 import rounds_pb2

app = typer.Typer(
    no_args_is_help=True, help="Campaigns of post-training rounds: open, list, show, watch, join, pause, resume, stop."
)

Identifier = Annotated[str, typer.Argument(help="For example campaign-1a2b3c4d5e6f.")]


@app.command("open", epilog="Example: coalition campaign open rounds.toml")
def open_campaign(
    spec: Annotated[Path, typer.Argument(help="The campaign's specification, TOML.")],
    again: Annotated[bool, typer.Option("--again", help="A new one, even of a spec that was opened before.")] = False,
    as_json: Json = False,
) -> None:
    """Sign and open a campaign (core team). It starts when enough members have joined.

    Opening the same spec once more answers with the campaign that it has.
    """
    from contributors.receipts import keep_receipt
    from protos.documents.campaigns import Campaign, CampaignSpec

    read = read_spec(spec, CampaignSpec)
    with connected() as hub:
        claim = Campaign(hub=hub.identity.hub, signer=hub.identity.id, spec=read)
        if again:
            hub.home.forget_statement(claim)
        known = hub.home.has_statement(claim)
        statement = hub.sign(claim)
        recorded = hub.open_campaign(statement)
        keep_receipt(hub.home, recorded.id, recorded.receipt, statement.envelope)
    if as_json:
        print_json({"id": recorded.id, "index": recorded.receipt.index})
        return
    if known:
        say((recorded.id, "bold"), " was opened with this spec before. For a new one: --again")
        return
    say("Opened ", (recorded.id, "bold"), f"; it starts when {read.minimum_members} members have joined.")
    say(f"They join with: coalition campaign join {recorded.id}")


@app.command("list", epilog="Example: coalition campaign list")
def list_campaigns(as_json: Json = False) -> None:
    """All campaigns."""
    with connected() as hub:
        found = hub.campaigns()
    if as_json:
        print_messages(found)
        return
    print_table(
        ["*id", "name", "state", ">rounds", "base model", "members"],
        [
            (c.id, c.name, c.state, f"{len(c.rounds)}/{c.rounds_planned}", c.base_model, ", ".join(c.members))
            for c in found
        ],
        "None yet. The core team opens one with `coalition campaign open SPEC.toml`.",
    )


@app.command("show", epilog="Example: coalition campaign show campaign-1a2b3c4d5e6f")
def show(identifier: Identifier, as_json: Json = False) -> None:
    """One campaign with its rounds and who took part."""
    from protos.documents.campaigns import part_of

    with connected() as hub:
        found = hub.campaign(identifier)
    if as_json:
        print_json(as_dict(found))
        return
    print_fields(
        [
            ("id", found.id),
            ("name", found.name),
            ("state", found.state),
            ("reason", found.reason),
            ("base model", found.base_model),
            ("trains", part_of(found.spec) or "what this version does not know: install the hub's"),
            ("rounds", f"{len(found.rounds)} of {found.rounds_planned}"),
            ("members", f"{', '.join(found.members) or 'none yet'} (needs {found.minimum_members})"),
            ("opened", f"{found.opened_at} by {found.opened_by}"),
            ("ended", found.ended_at),
            ("privacy", found.guarantee or "none is guaranteed"),
        ]
    )
    if found.spent:
        print_table(
            ["member", ">rounds", ">epsilon", ">in all campaigns", ">at delta", ">rounds without privacy"],
            [
                (
                    s.member,
                    s.rounds,
                    f"{s.epsilon:.3g}",
                    f"{s.epsilon_everywhere:.3g}",
                    f"{s.delta:g}",
                    s.rounds_without,
                )
                for s in found.spent
            ],
            "",
        )
    print_table(
        [">round", "model", "member", ">examples", ">weight", ">loss before", ">after", "why"],
        [
            (
                r.number,
                r.model,
                p.member,
                p.examples,
                f"{p.weight:.3f}",
                "withheld" if p.withheld else f"{p.loss_first:.3f}",
                "withheld" if p.withheld else f"{p.loss_last:.3f}",
                p.excluded or p.why,
            )
            for r in found.rounds
            for p in r.participants
        ],
        "No round yet.",
    )
    _print_rewards(found)


def _print_rewards(found: rounds_pb2.Campaign) -> None:
    """Of a campaign that learns from rewards."""
    rewarded = [(r.number, p) for r in found.rounds for p in r.participants if p.HasField("rewarded")]
    if not rewarded:
        return
    say("")
    print_table(
        [">round", "member", ">reward before", ">after", ">nats from the start", ">tokens an answer"],
        [
            (
                number,
                part.member,
                f"{part.rewarded.first:.3f}",
                f"{part.rewarded.last:.3f}",
                f"{part.rewarded.divergence:.3g}",
                f"{part.rewarded.length:.1f}",
            )
            for number, part in rewarded
        ],
        "",
    )


@app.command("watch", epilog="Example: coalition campaign watch campaign-1a2b3c4d5e6f")
def watch(identifier: Identifier, as_json: Json = False) -> None:
    """Follow a campaign live until it ends; exit code 1 if it failed."""
    with connected() as hub:
        rounds = hub.campaign(identifier).rounds_planned
        follow(hub.watch_campaign(identifier), rounds, as_json)


@app.command("join", epilog="Example: coalition campaign join campaign-1a2b3c4d5e6f")
def join(identifier: Identifier, as_json: Json = False) -> None:
    """Sign your consent: your site takes part. Training itself needs `coalition site start`."""
    from contributors.signers import Signers
    from contributors.site.consent import consent

    with connected() as hub:
        recorded = consent(Signers(hub), identifier)
    said = f"{hub.identity.id} takes part in {identifier}. Keep your site running: coalition site start"
    say_recorded(recorded, said, as_json)


@app.command("stop", epilog="Example: coalition campaign stop campaign-1a2b3c4d5e6f --why 'enough'")
def stop(
    identifier: Identifier,
    why: Annotated[str, typer.Option(help="The reason, for the record.")] = "asked to stop",
    as_json: Json = False,
) -> None:
    """Sign a stop for a campaign (core team). Finished rounds stay."""
    with connected() as hub:
        recorded = hub.stop_campaign(hub.sign(stop_of(hub, identifier, why)))
    say_recorded(recorded, f"{identifier} is being stopped.", as_json)


@app.command("pause", epilog="Example: coalition campaign pause campaign-1a2b3c4d5e6f --why 'a look at round 3'")
def pause(
    identifier: Identifier,
    why: Annotated[str, typer.Option(help="The reason, for the record.")] = "asked to pause",
    as_json: Json = False,
) -> None:
    """Sign a pause (core team). Finished rounds stay; the one under way is given up and begins anew after the resume."""
    with connected() as hub:
        recorded = hub.pause_campaign(hub.sign(hold_of(hub, identifier, "paused", why)))
    say_recorded(recorded, f"{identifier} is paused. It goes on with: coalition campaign resume {identifier}", as_json)


@app.command("resume", epilog="Example: coalition campaign resume campaign-1a2b3c4d5e6f")
def resume(
    identifier: Identifier,
    why: Annotated[str, typer.Option(help="The reason, for the record.")] = "asked to go on",
    as_json: Json = False,
) -> None:
    """Sign that a paused campaign goes on (core team), after its last finished round."""
    with connected() as hub:
        recorded = hub.resume_campaign(hub.sign(hold_of(hub, identifier, "resumed", why)))
    say_recorded(recorded, f"{identifier} goes on.", as_json)
