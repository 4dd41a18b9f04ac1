"""What a node does with an order before it starts anything."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from hub.training import shards, tasks
from hub.training.launching import Launcher, OnThisMachine
from hub.training.slurm.launcher import BySlurm, Cluster
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2
from protos.documents.runs import Placement
from tests.hub.training.test_scheduler import SPEC

STEPS = (10, 20, 30)


def seal(checkpoints: Path, *steps: int) -> None:
    for step in steps:
        (checkpoints / shards.tag(step)).mkdir(parents=True)
        (checkpoints / shards.tag(step) / "model.pt").write_bytes(b"state")
        shards.seal(checkpoints, step)


async def refused(place: Workplace, launcher: Launcher, nodes: int) -> training_pb2.TaskFailed:
    """What is said of an order to go on from step 30, which is damaged."""
    spec = SPEC.model_copy(update={"placement": Placement(nodes=nodes)})
    order = training_pb2.Train(run="run-1", attempt=2, resume_step=30, spec=spec.model_dump_json())
    said: list[training_pb2.NodeMessage] = []
    await tasks.train(order, place, launcher, said.append)
    (failed,) = (message.failed for message in said)
    assert (failed.run, failed.attempt, failed.shards_lost) == ("run-1", 2, True)
    assert failed.reason == "the shard of step 30 is not here as it was saved"
    return failed


async def test_a_node_whose_newest_shard_is_damaged_says_which_it_still_holds(tmp_path: Path) -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        place = Workplace(tmp_path, channel)
        seal(place.checkpoints("run-1"), *STEPS)
        (place.checkpoints("run-1") / "step-30" / "model.pt").write_bytes(b"State")
        failed = await refused(place, OnThisMachine(), 1)
    assert list(failed.held) == [10, 20]


async def test_a_cluster_says_which_steps_all_of_its_machines_hold(tmp_path: Path) -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        place = Workplace(tmp_path, channel)
        first, second = shards.parts(place.checkpoints("run-1"), 2)
        seal(first, *STEPS)
        seal(second, 10, 30)
        (second / "step-30" / "model.pt").write_bytes(b"State")
        failed = await refused(place, BySlurm("dgx", Cluster()), 2)
    assert list(failed.held) == [10]
    assert shards.steps(first) == set(STEPS), "nothing was forgotten yet"


@pytest.mark.system
async def test_a_node_says_at_once_that_there_is_too_little_text(tmp_path: Path) -> None:
    order = training_pb2.Prepare(run="run-1", attempt=1, spec=SPEC.model_dump_json())
    said: list[training_pb2.NodeMessage] = []
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        await tasks.prepare(order, Workplace(tmp_path, channel), said.append)
    (failed,) = (message.failed for message in said)
    assert failed.refused
    assert failed.reason == ("The datasets hold less than one sequence of text. Give more text or shorter sequences.")


@pytest.mark.parametrize("machines", [0, 2])
def test_a_checkpoint_that_the_hub_has_registered_stays_on_every_machine(tmp_path: Path, machines: int) -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        place = Workplace(tmp_path, channel)
        parts = shards.parts(place.checkpoints("run-1"), machines)
        for part in parts:
            seal(part, *STEPS)
        place.register("run-1", 10)
    for part in parts:
        shards.thin(part, 1, pending=1)
        assert shards.steps(part) == {10, 30}
