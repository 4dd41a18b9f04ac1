"""`coalition`: what a member, the core team and viewers run."""

from __future__ import annotations

import os

import typer

from contributors.cli import (
    campaign,
    dashboard,
    enrolment,
    evaluation,
    keys,
    ledger,
    models,
    release,
    run,
    site,
    submissions,
    witness,
)
from contributors.cli.terminal import err, say
from trust.sentences import run_command

app = typer.Typer(
    no_args_is_help=True,
    help="Build one open language model together. Set COALITION_HOME to choose an identity (default ~/.coalition).",
    pretty_exceptions_enable=False,
)
app.command("enrol", epilog="Example: coalition enrol --hub hub.example.org:9090 --token coalition-...")(
    enrolment.enrol
)
app.add_typer(keys.app, name="keys")
app.command("whoami", epilog="Example: coalition whoami --json")(enrolment.whoami)
app.add_typer(submissions.data, name="data")
app.add_typer(submissions.suite, name="suite")
app.add_typer(run.app, name="run")
app.add_typer(campaign.app, name="campaign")
app.add_typer(site.app, name="site")
app.add_typer(models.app, name="model")
app.add_typer(evaluation.app, name="eval")
app.command("leaderboard", epilog="Example: coalition leaderboard --json")(evaluation.leaderboard)
app.add_typer(release.app, name="release")
app.add_typer(ledger.app, name="ledger")
app.add_typer(witness.app, name="witness")
app.command("dashboard", epilog="Example: coalition dashboard --browser")(dashboard.dashboard)


def main() -> None:
    """The entry point: one sentence for a user's mistake and exit code 1; 2 for wrong usage."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would log of a hub that is away, we say
    run_command(app, _tell, install="Run `pip install 'coalition[site]'`.")


def _tell(sentence: str) -> None:
    say(("error", "bold red"), f" {sentence}", to=err)


if __name__ == "__main__":
    main()
