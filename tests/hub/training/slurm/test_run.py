"""A base run on the machines of a real Slurm: data and model by its agent, ranks by its jobs, preempted on the way."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.training.conftest import Cluster, attached

pytestmark = pytest.mark.system


@pytest.fixture
def cluster(slurm: Path, tmp_path: Path) -> Iterator[Cluster]:
    """The hub, and an agent of the whole of Slurm."""
    options = ("--slurm", "--partition", "low", "--label", "cluster=slurm")
    with attached(tmp_path, {"dgx": options}) as cluster:
        yield cluster


def squeue(form: str) -> list[str]:
    command = ["squeue", "--noheader", "--partition=low", f"--format={form}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()


def copied(cluster: Cluster, run: str) -> list[int]:
    """The steps of which the hub has the pieces of both machines' ranks, while the run goes on."""
    return [int(each["step"]) for each in cluster.show(run)["checkpoints"] if each["places"] == 2]


def test_a_run_on_two_machines_is_preempted_and_goes_on_to_its_end(cluster: Cluster) -> None:
    placement = 'nodes = 2\nlabels = {cluster = "slurm"}'
    run = cluster.launch(steps=60, every=10, training="copy_every = 10", placement=placement)
    cluster.wait("a copy at the hub, besides the cluster's own shards", lambda: copied(cluster, run), 240)
    assert cluster.show(run)["nodes"] == ["dgx"]
    (job,) = squeue("%i")
    urgent = [
        "sbatch",
        "--parsable",
        "--partition=high",
        "--nodes=2",
        "--exclusive",
        "--output=/dev/null",
        "--wrap=sleep 1",
    ]
    subprocess.run(urgent, check=True, timeout=60, capture_output=True)
    cluster.wait("the end", lambda: cluster.show(run)["state"] in ("finished", "failed"), 480)
    ended, said = cluster.show(run), cluster.said(run)
    assert ended["state"] == "finished", said
    assert ended["attempt"] == 1, "Slurm put it back, and the hub had nothing to do"
    told = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert "Restarts=1" in told
    places = ("running in Slurm on machine-[1-2]", "running in Slurm on machine-[1-2], after 1 restart")
    assert [line for line in said if line in places] == list(places), said
    assert any(line.startswith("log: machine 1: ") for line in said), said
    losses = {int(point["step"]): point["value"] for point in ended["metrics"] if point["name"] == "loss"}
    assert max(losses) == 60
    assert losses[60] < losses[5]
    (model,) = [each for each in cluster.core.coalition("model", "list") if each["id"] == ended["model"]]
    assert model["tokens"] == 60 * 4 * 2 * 64
    shards = cluster.directory / "dgx" / "runs" / run
    cluster.wait("an empty folder", lambda: not shards.exists(), 15)
