"""`coalition-hub`: make a hub, serve it, invite parties, run a node agent; with the commands that stand in other modules."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from hub import logs, setup
from hub.cli.authority import authority
from hub.cli.care import care
from hub.cli.terminal import Directory, Json, err, out, say
from hub.guard import keep_secrets
from hub.settings import SANDBOX, Settings, demanded
from protos.documents.jurisdictions import COUNTRIES
from protos.documents.licences import LicencePolicy
from protos.documents.placing import JURISDICTION
from trust.errors import Invalid
from trust.sentences import counted, run_command

app = typer.Typer(
    no_args_is_help=True,
    help="Coordinate a coalition: make a hub, serve it, invite members, attach nodes.",
    epilog="Example: coalition-hub init /srv/coalition --name europe --host hub.example.org",
    pretty_exceptions_enable=False,
)
app.add_typer(care)
app.add_typer(authority, name="authority")


@app.command(epilog="Example: coalition-hub init /srv/coalition --name europe --host hub.example.org")
def init(
    directory: Directory,
    name: Annotated[str, typer.Option(help="The coalition's name: lower-case letters, digits, hyphens.")],
    host: Annotated[str, typer.Option(help="The name or address that members dial.")] = "127.0.0.1",
    bind: Annotated[str, typer.Option(help="The interface to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=1, max=65533, help="Main port; the next two serve enrolment and Flower.")
    ] = 9090,
    country: Annotated[
        str, typer.Option(help="Where it stands (ISO 3166-1), for data that may not be everywhere.")
    ] = "",
    allow_licence: Annotated[
        list[str] | None, typer.Option(help="A licence to take by name, such as LicenseRef-Ours; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a hub: certificate authority, keys, settings."""
    licences = (*LicencePolicy().allowed, *(allow_licence or ()))
    settings = setup.create(
        directory, name, host=host, bind=bind, port=port, country=country, licences_allowed=licences
    )
    if as_json:
        out.print_json(json.dumps({"name": name, "directory": str(settings.directory), "address": f"{host}:{port}"}))
        return
    say(f"The hub {name} is made in {settings.directory}.")
    say(f"Next: coalition-hub serve {directory}   then: coalition-hub invite {directory} --organisation ...")


@app.command(epilog="Example: coalition-hub serve /srv/coalition")
def serve(
    directory: Directory,
    at: Annotated[str, typer.Option(help="HOST:PORT of this process, where several serve one hub.")] = "",
) -> None:
    """Serve members, nodes and the dashboard until Ctrl-C.

    On PostgreSQL several processes may serve one hub: they elect a leader, and the others take over when it dies.
    """
    from hub.server import serve as run

    logs.configure(err)
    settings = Settings.load(directory)
    asyncio.run(run(settings.at(at) if at else settings))


@app.command(epilog="Example: coalition-hub sandbox /srv/coalition")
def sandbox(directory: Directory, as_json: Json = False) -> None:
    """Try the sandbox that suites are evaluated in: which layers stand, and whether that is enough; exit code 1 if not."""
    from hub.evaluation.process import trial

    settings = Settings.load(directory)
    layers, missing = asyncio.run(trial(settings))
    if as_json:
        out.print_json(json.dumps({"standing": layers, "demanded": settings.sandbox, "lacking": missing}))
    else:
        out.print(f"Standing: {', '.join(layers) or 'nothing'}.")
        out.print(
            f"Lacking: {', '.join(missing)}: no suite will be evaluated."
            if missing
            else "That is what hub.toml demands."
        )
    if missing:
        raise typer.Exit(1)


@app.command(epilog="Example: coalition-hub evaluate models/tiny-1 my-suite --json")
def evaluate(
    model: Annotated[Path, typer.Argument(help="A folder with a model in the form of Hugging Face.")],
    suite: Annotated[
        Path, typer.Argument(help="A folder with suite.json and its data; - for a tar on standard input.")
    ],
    sandbox: Annotated[
        str, typer.Option(envvar="COALITION_SANDBOX", help="The layers that must stand; see hub.toml's.")
    ] = ",".join(SANDBOX),
    items: Annotated[bool, typer.Option("--items", help="Print the per-item log, a line of JSON an item.")] = False,
    as_json: Json = False,
) -> None:
    """Evaluate a model by a suite on this machine, in the hub's sandbox; nothing is recorded."""
    from hub.evaluation import local

    files = local.from_tar(sys.stdin.buffer) if str(suite) == "-" else local.from_folder(suite)
    harness, found = asyncio.run(local.evaluate(model, files, demanded(sandbox)))
    if found.failure:
        raise Invalid(found.failure)
    if items:
        sys.stdout.buffer.write(found.log)
        return
    if as_json:
        scores = [score.model_dump(mode="json") for score in found.scores]
        out.print_json(json.dumps({"harness": harness, "scores": scores, "seconds": found.seconds}))
        return
    for score in found.scores:
        over = counted(score.items, "item")
        say(f"{score.task}: {score.metric} {score.value:.4f} ± {score.standard_error:.4f} over {over}")


@app.command(epilog="Example: coalition-hub invite /srv/coalition --organisation 'Law Institute' --role contributor")
def invite(
    directory: Directory,
    organisation: Annotated[str, typer.Option(help="Who is invited.")],
    role: Annotated[str, typer.Option(help="core, contributor or viewer.")] = "contributor",
    node: Annotated[str, typer.Option(help="Invite a node of this name instead of a member.")] = "",
    days: Annotated[float, typer.Option(help="How long the invitation holds: up to 365.")] = 7,
    as_json: Json = False,
) -> None:
    """Print a single-use invitation token for an organisation, or for one of its nodes."""
    from hub.database import Database
    from hub.members import invitations
    from trust.certificates import Authority
    from trust.invitations import Invitation

    if role not in ("core", "contributor", "viewer"):
        raise Invalid(f"{role!r} is not a role.", "Use core, contributor or viewer.")
    if not 0 < days <= 365:  # NaN is not
        raise Invalid(f"An invitation cannot hold for {days:g} days.", "Choose more than 0 and up to 365.")
    settings = Settings.load(directory)
    token = Invitation.create(Authority.load(settings.authority_dir).fingerprint, settings.enrol_port)
    database = Database(settings.database_url)
    database.migrate()
    with database.session(writing=True) as session:
        if node:
            identifier = invitations.invite_node(session, token, organisation, node, days)
        else:
            identifier = invitations.invite_member(session, token, organisation, role, days)
    database.close()
    if as_json:
        out.print_json(json.dumps({"id": identifier, "role": "node" if node else role, "token": token.encode()}))
        return
    command = f"coalition-hub node DIR --name {node}" if node else "coalition enrol"
    say(f"{identifier} enrols with: {command} --hub {settings.host}:{settings.port} --token TOKEN", to=err)
    say(token.encode())


@app.command(epilog="Example: coalition-hub node /srv/node --hub hub.example.org:9090 --name gpu-1 --token TOKEN")
def node(
    directory: Directory,
    hub: Annotated[str, typer.Option(help="HOST:PORT of the hub.")],
    name: Annotated[str, typer.Option(help="This node's name, as in its invitation.")],
    token: Annotated[str, typer.Option(envvar="COALITION_TOKEN", help="The invitation; only the first time.")] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE, for placement: jurisdiction=NL, rack=r1, nvlink=d3, ib=f1; may be repeated."),
    ] = None,
    cache_gb: Annotated[float, typer.Option(min=0, help="What the copies of data may take on the disk.")] = 200,
    slurm: Annotated[
        bool,
        typer.Option(
            "--slurm", help="Start gangs by this cluster's Slurm; DIR must lie where all its machines see it."
        ),
    ] = False,
    partition: Annotated[str, typer.Option(help="Slurm's partition; its default one otherwise.")] = "",
    sbatch: Annotated[
        list[str] | None, typer.Option(help="An option for sbatch, such as --account=law; may be repeated.")
    ] = None,
    show_key: Annotated[bool, typer.Option("--show-key", help="Without Landlock, run all the same.")] = False,
    warm: Annotated[
        bool, typer.Option("--warm", help="Keep processes ready, some 0.5 GB each, so that a run comes back sooner.")
    ] = False,
    evaluations: Annotated[
        bool, typer.Option(help="Evaluate models by suites, while no run needs this machine.")
    ] = True,
    sandbox: Annotated[
        str, typer.Option(envvar="COALITION_SANDBOX", help="The layers that must stand around an evaluation.")
    ] = ",".join(SANDBOX),
) -> None:
    """Attach this machine to the hub and train and evaluate what it is given until Ctrl-C."""
    from hub.evaluation.lent import Lent
    from hub.training import agent
    from hub.training.slurm.launcher import Cluster

    logs.configure(err)
    labels = dict(_label(text) for text in label or [])
    cluster = Cluster(partition, tuple(sbatch or ())) if slurm else None
    terms = agent.Terms(labels, int(cache_gb * 1e9), show_key, cluster, warm)
    lent = Lent(directory.absolute(), demanded(sandbox)) if evaluations and not slurm else None
    agent.main(directory, hub, name, token, terms, lent)


@app.command(
    epilog="Example: coalition-hub manifest gpu --hub H:9090 --image I --claim shared --tokens tokens --nodes 4"
)
def manifest(
    name: Annotated[str, typer.Argument(help="Of the JobSet or TrainJob; its nodes are NAME-0, NAME-1, and so on.")],
    hub: Annotated[str, typer.Option(help="HOST:PORT of the hub.")],
    image: Annotated[str, typer.Option(help="A container image in which coalition[node] is installed.")],
    claim: Annotated[str, typer.Option(help="A volume claim that all pods can write to.")],
    tokens: Annotated[str, typer.Option(help="A secret with the invitation of NAME-0 under the key 0, and so on.")],
    nodes: Annotated[int, typer.Option(min=1, max=4096, help="How many pods.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="Accelerators for each pod.")] = 0,
    resource: Annotated[str, typer.Option(help="What the cluster calls them.")] = "nvidia.com/gpu",
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of all nodes; may be repeated.")] = None,
    train_job: Annotated[
        str, typer.Option(metavar="RUNTIME", help="A TrainJob of Kubeflow Trainer for this runtime: torch-distributed.")
    ] = "",
) -> None:
    """Print a Kubernetes JobSet, or a TrainJob, whose pods are nodes of the hub, for `kubectl apply -f -`."""
    from hub.training import kubernetes

    labels = dict(_label(text) for text in label or [])
    pods = kubernetes.Pods(name, image, hub, nodes, claim, tokens, gpus, resource, labels)
    made = kubernetes.train_job(pods, train_job) if train_job else kubernetes.job_set(pods)
    typer.echo(json.dumps(made, indent=2))


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise Invalid(f"{text!r} is not a label.", "Write KEY=VALUE.")
    if key == JURISDICTION and value not in COUNTRIES:
        raise Invalid(f"{value!r} is no country code of ISO 3166-1.", "Write for example jurisdiction=NL.")
    return key, value


def main() -> None:
    """The entry point: one sentence for a user's mistake, exit code 1; 2 for wrong usage."""
    keep_secrets()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would log of a hub that is away, we say
    install = "Run `pip install 'coalition[hub]'`, or 'coalition[node]' on a node."
    run_command(app, _tell, install=install, explain=_of_database)


def _of_database(error: Exception) -> str | None:
    from hub.database import explained

    return explained(error)


def _tell(sentence: str) -> None:
    say(Text.assemble(("error", "bold red"), f" {sentence}"), to=err)
