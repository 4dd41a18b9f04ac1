"""`coalition site`: a member's place for post-training, and what its answers told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from contributors.cli.session import our_home
from contributors.cli.terminal import Json, print_fields, print_json, print_table, say

app = typer.Typer(no_args_is_help=True, help="Your site: where post-training meets your private data.")


@app.command("start", epilog="Example: coalition site start --data private/ --join all")
def start(
    data: Annotated[Path | None, typer.Option(help="Your private text; kept in site.toml for the next time.")] = None,
    join: Annotated[str, typer.Option(help="all: join every campaign; ask: you join by hand. Kept in site.toml.")] = "",
    country: Annotated[
        str, typer.Option(help="Where the site stands, for example NL; data may be bound to it. Kept in site.toml.")
    ] = "",
) -> None:
    """Run the site until Ctrl-C. The text stays here: only updates and a few numbers leave.

    It trains on files that a dataset of yours names, as they are: coalition data submit DIR --category private.
    """
    from contributors.site.run import start as run

    run(our_home(), data=data, join=join, country=country)


@app.command("sit-out", epilog="Example: coalition site sit-out")
def sit_out(as_json: Json = False) -> None:
    """Take no part in rounds from the next task on, without leaving any campaign. They go on without you."""
    _take_part(False, as_json, "Your site sits out every round until: coalition site take-part")


@app.command("take-part", epilog="Example: coalition site take-part")
def take_part(as_json: Json = False) -> None:
    """Take part in rounds again, from the next one on."""
    _take_part(True, as_json, "Your site takes part from the next round on.")


def _take_part(part: bool, as_json: bool, said: str) -> None:
    from contributors.site.presence import sit_out

    sit_out(our_home().directory, not part)
    if as_json:
        print_json({"takes_part": part})
    else:
        say(said)


@app.command("privacy", epilog="Example: coalition site privacy")
def privacy(as_json: Json = False) -> None:
    """What this site's answers cost so far, and its budget: [privacy] in site.toml, with epsilon and delta."""
    from contributors.site.policy import load_policy
    from contributors.site.spending import read_spending
    from learning.privacy.accounting import epsilon_of
    from protos.documents.privacy import USUAL_DELTA

    home = our_home().directory
    budget, spending = load_policy(home).privacy, read_spending(home)
    delta = budget.delta if budget else USUAL_DELTA
    spent = epsilon_of(spending.mu(), delta)
    campaigns = [
        (each.campaign, each.answers, f"{each.noise:g}", f"{epsilon_of(spending.mu(each.campaign), delta):.3g}")
        for each in spending.campaigns
    ]
    if as_json:
        print_json({"spent": spent, "delta": delta, "budget": budget.epsilon if budget else None})
        return
    print_fields(
        [
            ("spent", f"epsilon {spent:.4g} at delta {delta:g}"),
            ("budget", f"epsilon {budget.epsilon:g}" if budget else "none: rounds without privacy are answered too"),
        ]
    )
    print_table(
        ["campaign", ">answers", ">noise", ">epsilon"], campaigns, "No answer to a campaign with privacy was given yet."
    )


@app.callback()
def _noun() -> None:
    """Your site: where post-training meets your private data."""
