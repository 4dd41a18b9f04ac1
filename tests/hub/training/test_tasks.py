"""What a node does with an order before it starts anything."""

from __future__ import annotations

from pathlib import Path

import grpc

from hub.training import shards, tasks
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2


async def test_a_node_whose_newest_shard_is_damaged_says_which_it_still_holds(tmp_path: Path) -> None:
    said: list[training_pb2.NodeMessage] = []
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        place = Workplace(tmp_path, channel)
        checkpoints = place.checkpoints("run-1")
        for step in (10, 20, 30):
            (checkpoints / shards.tag(step)).mkdir()
            (checkpoints / shards.tag(step) / "model.pt").write_bytes(b"state")
            shards.seal(checkpoints, step)
        (checkpoints / "step-30" / "model.pt").write_bytes(b"State")
        await tasks.train(training_pb2.Train(run="run-1", attempt=2, resume_step=30), place, said.append)
    (failed,) = (message.failed for message in said)
    assert (failed.run, failed.attempt, failed.shards_lost, list(failed.held)) == ("run-1", 2, True, [10, 20])
    assert failed.reason == "the shard of step 30 is not here as it was saved"
