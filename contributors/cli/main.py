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
    node,
    release,
    rewards,
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
    epilog="Example: coalition enrol --hub hub.example.org:9090 --token coalition-...",
    pretty_exceptions_enable=False,
)
app.command("enrol", epilog="Example: coalition enrol --hub hub.example.org:9090 --token coalition-...")(
    enrolment.enrol
)
app.add_typer(keys.app, name="keys", epilog="Example: coalition keys rotate")
app.command("whoami", epilog="Example: coalition whoami --json")(enrolment.whoami)
app.add_typer(
    submissions.data,
    name="data",
    epilog="Example: coalition data list --json",
)
app.add_typer(submissions.suite, name="suite", epilog="Example: coalition suite submit my-suite/")
app.add_typer(rewards.app, name="reward", epilog="Example: coalition reward submit careful.json")
app.add_typer(run.app, name="run", epilog="Example: coalition run launch tiny.toml --watch")
app.add_typer(node.app, name="node", epilog="Example: coalition node list --json")
app.add_typer(campaign.app, name="campaign", epilog="Example: coalition campaign join campaign-1a2b3c4d5e6f")
app.add_typer(site.app, name="site", epilog="Example: coalition site start --data private/")
app.add_typer(models.app, name="model", epilog="Example: coalition model lineage tiny-1.3")
app.add_typer(evaluation.app, name="eval", epilog="Example: coalition eval list --model tiny-1")
app.command("leaderboard", epilog="Example: coalition leaderboard --json")(evaluation.leaderboard)
app.add_typer(release.app, name="release", epilog="Example: coalition release download 1.0 ./coalition-1.0")
app.add_typer(ledger.app, name="ledger", epilog="Example: coalition ledger verify")
app.add_typer(witness.app, name="witness", epilog="Example: coalition witness start")
app.command("dashboard", epilog="Example: coalition dashboard --browser")(dashboard.dashboard)


def main() -> None:
    """The entry point: one sentence for a user's mistake and exit code 1; 2 for wrong usage."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would log of a hub that is away, we say
    run_command(app, _tell, install="Run `pip install 'coalition[site]'`.")


def _tell(sentence: str) -> None:
    say(("error", "bold red"), f" {sentence}", to=err)


if __name__ == "__main__":
    main()
