"""DeepSpeed on two real ranks, each with a disk of its own: a killed run resumes to the same result, also by torchrun."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from hub.training import shards, tasks
from hub.training.launch import torchrun, worker_environment
from hub.training.launching import OnThisMachine
from hub.training.prepare import main as prepare
from hub.training.workplace import Workplace
from learning.corpus import Corpus, is_held_out
from learning.mixture import order
from protos.coalition.v1 import common_pb2, training_pb2
from protos.documents.runs import RunSpec
from tests.hub.training import forks
from trust.digests import Digest, digest_file, hex_of
from trust.errors import Invalid

pytestmark = pytest.mark.system
STEPS = 10
SPEC: dict[str, Any] = {
    "name": "tiny",
    "architecture": {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 64,
        "layers": 2,
        "heads": 2,
        "kv_heads": 1,
        "context_length": 64,
    },
    "training": {
        "steps": STEPS,
        "batch_size": 4,
        "sequence_length": 64,
        "learning_rate": 1e-2,
        "checkpoint_every": 4,
        "copy_every": 4,
        "zero_stage": 1,
    },
    "placement": {"nodes": 2},
}


COURSE = SPEC | {
    "data": {"weights": {"code": 1.0, "prose": 1.0}, "held_out": 0.2},
    "training": SPEC["training"]
    | {
        "steps": 14,
        "sequence_length": 32,
        "learning_rate": 3e-3,
        "separate_documents": True,
        "optimizer": "muon",
        "zero_stage": 2,
        "z_loss": 1e-4,
        "evaluate_every": 5,
        "rollbacks": 1,
    },
    "stages": [
        {"name": "first", "steps": 8, "warmup_steps": 2, "schedule": "wsd"},
        {
            "name": "long",
            "steps": 6,
            "sequence_length": 64,
            "batch_size": 6,
            "micro_batch": 2,
            "stretch_positions": True,
            "weights": {"code": 3.0, "prose": 1.0},
            "schedule": "wsd",
            "decay_steps": 6,
            "floor": 0.0,
        },
    ],
    "samples": {"every": 7, "prompts": ["def ", "import"], "tokens": 4},
}


def _prepare(folder: Path, spec: dict[str, Any]) -> Path:
    """Tokenizer and tokens of some real text, as rank 0 makes them."""
    datasets = {}
    for identifier, domain, source in (("data-1", "code", os.__file__), ("data-2", "prose", argparse.__file__)):
        shard = folder / f"{domain}.jsonl"
        parts = [part for part in Path(source).read_text().split("\n\n") if part.strip()]
        shard.write_text("".join(json.dumps({"text": part}) + "\n" for part in parts))
        datasets[identifier] = {"domain": domain, "paths": [str(shard)]}
    job = folder / "job.json"
    job.write_text(json.dumps({"spec": spec, "datasets": datasets}))
    prepare(job)
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _prepare(tmp_path_factory.mktemp("prepared"), SPEC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def packed(prepared: Path) -> list[str]:
    """The shards of its tokens."""
    return [str(path) for path in sorted((prepared / "tokens").iterdir())]


class Gang:
    """The ranks of a run, two as its spec has it or so many `nodes`; `folder` keeps each rank's checkpoints across attempts, but
    they may go on from the pieces of a `copy`. The second may be limited to files of so many bytes, as a full disk would."""

    def __init__(
        self,
        prepared: Path,
        folder: Path,
        attempt: int,
        resume_step: int,
        spec: dict[str, Any] = SPEC,
        limit: int | None = None,
        nodes: int = 2,
        copy: Sequence[Path] = (),
    ) -> None:
        self._spec, self._limit, self._world, self._copy = spec, limit, nodes, copy
        port = free_port()
        self.folders = [folder / f"attempt-{attempt}-rank-{rank}" for rank in range(nodes)]
        self.ranks = [self._start(rank, prepared, folder, resume_step, port) for rank in range(nodes)]

    def _start(self, rank: int, prepared: Path, folder: Path, resume: int, port: int) -> BaseProcess:
        own = self.folders[rank]
        own.mkdir(parents=True)
        job = {
            "spec": RunSpec.read(self._spec).on(self._world).model_dump(mode="json"),
            "tokenizer": str(prepared / "tokenizer"),
            "tokens": packed(prepared),
            "folder": str(own),
            "checkpoints": str(folder / f"checkpoints-{rank}"),
            "copies": str(own / "copies"),
            "copy": [str(path) for path in self._copy],
            "resume_step": resume,
        }
        (own / "job.json").write_text(json.dumps(job))
        return forks.start(own / "job.json", rank, self._world, port, self._limit if rank == 1 else None)

    def events(self, rank: int) -> list[dict[str, object]]:
        path = self.folders[rank] / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def checkpoints(self, rank: int) -> list[dict[str, object]]:
        return [event for event in self.events(rank) if event["kind"] == "checkpoint"]

    def pieces(self, step: int) -> list[Path]:
        """Of the copy of a step, from all ranks."""
        return [path for folder in self.folders for path in sorted((folder / "copies" / shards.tag(step)).iterdir())]

    def wait_for_checkpoints(self) -> None:
        """Until every rank has its first."""
        end = time.monotonic() + 400
        while not all(self.checkpoints(rank) for rank in range(2)):
            assert time.monotonic() < end, (self.folders[0] / "log").read_text()[-2000:]
            time.sleep(0.05)

    def wait(self) -> list[int | None]:
        for process in self.ranks:
            process.join(400)
        return [process.exitcode for process in self.ranks]

    def kill(self) -> None:
        for process in self.ranks:
            process.kill()
            process.join()


class Node:
    """Two ranks of a run on one node."""

    def __init__(self, prepared: Path, folder: Path, attempt: int, resume_step: int) -> None:
        self.folder = folder / f"attempt-{attempt}"
        self.folder.mkdir()
        job = {
            "spec": SPEC | {"placement": {"nodes": 1, "ranks_per_node": 2}},
            "tokenizer": str(prepared / "tokenizer"),
            "tokens": packed(prepared),
            "folder": str(self.folder),
            "checkpoints": str(folder / "checkpoints"),
            "copies": str(self.folder / "copies"),
            "copy": [],
            "resume_step": resume_step,
            "shared": False,
        }
        (self.folder / "job.json").write_text(json.dumps(job))
        command = torchrun(self.folder / "job.json", rank=0, world=1, host="127.0.0.1", port=free_port(), processes=2)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, env=worker_environment(1, True), stdout=log, stderr=log)

    def wait(self) -> int:
        return self._process.wait(400)

    def log(self) -> str:
        return (self.folder / "log").read_text()[-2000:]

    def checkpoints(self) -> list[dict[str, object]]:
        events = map(json.loads, (self.folder / "events.jsonl").read_text().splitlines())
        return [event for event in events if event["kind"] == "checkpoint"]


def measured(gang: Gang, name: str) -> dict[int, float]:
    """By step."""
    return {event["step"]: event[name] for event in gang.events(0) if name in event and event["kind"] == "progress"}


def said(gang: Gang) -> list[str]:
    return [event["message"] for event in gang.events(0) if "message" in event]


@pytest.fixture(scope="module")
def whole(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Gang:
    """A run that nothing interrupted."""
    gang = Gang(prepared, tmp_path_factory.mktemp("whole"), 1, 0)
    assert gang.wait() == [0, 0], (gang.folders[0] / "log").read_text()[-2000:]
    return gang


def model(gang: Gang) -> Digest:
    return digest_file(gang.folders[0] / "model" / "model.safetensors")


def test_a_killed_gang_resumes_to_the_very_model_of_an_uninterrupted_one(
    whole: Gang, prepared: Path, tmp_path: Path
) -> None:
    saved = [whole.checkpoints(rank) for rank in range(2)]
    assert [[event["step"] for event in events] for events in saved] == [[4, 8], [4, 8]]
    assert saved[0][0]["shard"] != saved[1][0]["shard"]
    assert saved[0][0]["weights"]
    assert not saved[1][0]["weights"]
    cut = Gang(prepared, tmp_path / "cut", 1, 0)
    cut.wait_for_checkpoints()
    cut.kill()
    assert not (cut.folders[0] / "model").exists()
    for rank in range(2):
        held = tmp_path / "cut" / f"checkpoints-{rank}"
        assert shards.holds(held, 4)
        shards.rewind(held, 4)
    resumed = Gang(prepared, tmp_path / "cut", 2, 4)
    assert resumed.wait() == [0, 0], (resumed.folders[0] / "log").read_text()[-2000:]
    losses = [measured(gang, "loss") for gang in (whole, resumed)]
    assert list(losses[1]) == [5, 8, 10]
    assert losses[1] == {step: loss for step, loss in losses[0].items() if step > 4}
    assert model(resumed) == model(whole)
    assert all(0 < share < 1 for share in measured(whole, "checkpoint_stall").values())


def test_what_two_ranks_have_copied_one_goes_on_from_over_the_same_sequences(
    whole: Gang, prepared: Path, tmp_path: Path
) -> None:
    """Its node alone is left, with no checkpoint but the copy: the losses are those of two, to the rounding of bf16."""
    alone = Gang(prepared, tmp_path, 2, 4, nodes=1, copy=whole.pieces(4))
    assert alone.wait() == [0], (alone.folders[0] / "log").read_text()[-2000:]
    assert [event["step"] for event in alone.checkpoints(0)] == [8]
    assert [path.name for path in alone.pieces(8)] == ["copy-0-of-1.safetensors"]
    losses = measured(whole, "loss")
    assert measured(alone, "loss") == pytest.approx({step: losses[step] for step in (5, 8, 10)}, abs=1e-3)


async def test_a_node_whose_copy_is_not_the_state_of_the_model_says_so(prepared: Path, tmp_path: Path) -> None:
    """What came has its digest, and is a pickle that would write a file."""
    hostile = tmp_path / "copy-0-of-1.safetensors"
    hostile.write_bytes(pickle.dumps(_Writes(str(tmp_path / "written"))))
    cache = tmp_path / "node" / "blobs"
    cache.mkdir(parents=True)

    def cached(path: Path) -> common_pb2.File:
        digest = digest_file(path)
        shutil.copyfile(path, cache / hex_of(digest))
        return common_pb2.File(path=path.name, digest=digest, size=path.stat().st_size)

    order = training_pb2.Train(
        run="run-1",
        attempt=2,
        spec=RunSpec.read(SPEC).on(1).model_dump_json(),
        tokenizer=[cached(path) for path in (prepared / "tokenizer").iterdir()],
        tokens=[cached(Path(path)) for path in packed(prepared)],
        world=1,
        master_host="127.0.0.1",
        master_port=free_port(),
        resume_step=4,
        copy=[cached(hostile)],
    )
    said: list[training_pb2.NodeMessage] = []
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        await tasks.train(order, Workplace(tmp_path / "node", channel), OnThisMachine(), said.append)
    (failed,) = (message.failed for message in said if message.WhichOneof("kind") == "failed")
    assert (failed.copy_lost, failed.reason) == (True, "the copy of step 4 is not what it should be")
    assert not (tmp_path / "written").exists()


class _Writes:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self._path),)


def test_two_ranks_on_one_node_make_the_very_model_of_two_nodes_and_resume_from_the_shard_that_they_share(
    whole: Gang, prepared: Path, tmp_path: Path
) -> None:
    node = Node(prepared, tmp_path, 1, 0)
    assert node.wait() == 0, node.log()
    checkpoints = tmp_path / "checkpoints"
    assert [event["step"] for event in node.checkpoints()] == sorted(shards.held([checkpoints])) == [4, 8]
    shards.rewind(checkpoints, 4)
    resumed = Node(prepared, tmp_path, 2, 4)
    assert resumed.wait() == 0, resumed.log()
    assert [event["step"] for event in resumed.checkpoints()] == [8]
    made = [digest_file(each.folder / "model" / "model.safetensors") for each in (node, resumed)]
    assert made == [model(whole)] * 2


def test_a_disk_that_takes_no_checkpoint_costs_every_rank_the_checkpoint_and_none_the_training(
    whole: Gang, prepared: Path, tmp_path: Path
) -> None:
    """A checkpoint is on all ranks or on none, so nobody resumes from half of one."""
    gang = Gang(prepared, tmp_path, 1, 0, limit=65_536)
    assert gang.wait() == [0, 0], (gang.folders[1] / "log").read_text()[-2000:]
    assert said(gang) == [f"the checkpoint of step {step} could not be kept: rank 1: File too large" for step in (4, 8)]
    assert [gang.checkpoints(rank) for rank in range(2)] == [[], []]
    assert [shards.steps(tmp_path / f"checkpoints-{rank}") for rank in range(2)] == [set(), set()]
    assert model(gang) == model(whole)


def test_a_run_in_stages_resumes_within_the_second_to_the_very_model(tmp_path: Path) -> None:
    """Muon under ZeRO 2, domains by weight, other lengths and batches, stretched positions: all of it, and what is told of it."""
    prepared = _prepare(tmp_path, COURSE)
    whole = Gang(prepared, tmp_path / "whole", 1, 0, COURSE)
    assert whole.wait() == [0, 0], (whole.folders[0] / "log").read_text()[-2000:]
    cut = tmp_path / "cut"
    for rank in range(2):
        shutil.copytree(tmp_path / "whole" / f"checkpoints-{rank}", cut / f"checkpoints-{rank}")
    resumed = Gang(prepared, cut, 1, 12, COURSE)
    assert resumed.wait() == [0, 0], (resumed.folders[0] / "log").read_text()[-2000:]
    assert model(resumed) == model(whole)
    positions = AutoModelForCausalLM.from_pretrained(whole.folders[0] / "model").config.rope_parameters
    assert (positions["rope_type"], positions["factor"]) == ("yarn", 2.0)
    rates = measured(whole, "learning_rate")
    assert (rates[5], rates[14]) == (3e-3, 0.0)
    assert list(measured(whole, "held_out_loss")) == list(measured(whole, "held_out_loss/prose")) == [5, 8, 10, 14]
    assert set(measured(whole, "loss/code")) == set(measured(whole, "mfu")) == {4, 5, 8, 10, 12, 14}
    assert all(0 < share < 1 for share in measured(whole, "mfu").values())
    assert [message.split(":")[0] for message in said(whole)] == [
        "stage first begins, 8 steps",
        *["sample at step 7"] * 2,
        "stage long begins, 6 steps",
        *["sample at step 14"] * 2,
    ]
    assert said(resumed)[0].startswith("goes on from step 12: ")
    assert said(resumed)[1:] == said(whole)[-2:]


def test_a_spike_sends_training_back_and_past_the_batches_that_made_it(prepared: Path, tmp_path: Path) -> None:
    """Two tokens that take turns, and noise in the batches of steps 61 to 70."""
    training = SPEC["training"] | {
        "steps": 75,
        "batch_size": 2,
        "sequence_length": 32,
        "checkpoint_every": 20,
        "copy_every": 0,
        "rollbacks": 1,
        "precision": "fp32",
    }
    spec = SPEC | {"training": training}
    per_step, blocks = 2 * 2, 90 * 2 * 2
    tokens = np.tile(np.array([5, 9], np.uint16), (blocks, 16))
    noisy = order(blocks, 0, 0)[60 * per_step : 70 * per_step]
    tokens[noisy] = np.random.default_rng(0).integers(1, 512, (len(noisy), 32), dtype=np.uint16)
    (tmp_path / "tokens").mkdir()
    cut = Corpus({"data-1": tokens.ravel()}, {"data-1": "code"}).save(tmp_path / "tokens", 10_002)
    assert len(cut) > 1
    shutil.copytree(prepared / "tokenizer", tmp_path / "tokenizer")
    gang = Gang(tmp_path, tmp_path / "run", 1, 0, spec)
    assert gang.wait() == [0, 0], (gang.folders[0] / "log").read_text()[-2000:]
    assert said(gang) == ["the loss jumped before step 70: training goes back to step 60 and skips 10 batches"]
    losses = [(event["step"], event["loss"]) for event in gang.events(0) if "loss" in event and "shard" not in event]
    assert [step for step, _ in losses[-5:]] == [65, 70, 65, 70, 75]
    assert losses[-5][1] > 4
    assert max(loss for _, loss in losses[-3:]) < 1  # the ground that was regained, without the noise
    trained = gang.events(0)[-1]
    assert (trained["kind"], trained["skipped"]) == ("trained", [[60, 70]])


def test_preparation_holds_documents_out_and_learns_no_token_from_them(tmp_path: Path) -> None:
    prepared = _prepare(tmp_path, COURSE)
    corpus = Corpus.load([Path(path) for path in packed(prepared)])
    texts = [json.loads(line)["text"] for line in (tmp_path / "code.jsonl").read_text().splitlines()]
    held_out = [text for text in texts if is_held_out(text, 0.2)]
    ends = int((corpus.held_out["data-1"][:] == 0).sum())
    assert ends == len(held_out) > 10
    assert int((corpus.train["data-1"][:] == 0).sum()) == len(texts) - ends


def test_too_little_held_out_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="held out is less than one sequence"):
        _prepare(tmp_path, COURSE | {"data": COURSE["data"] | {"held_out": 1e-9}})


def test_preparation_counts_the_tokens_of_every_dataset(prepared: Path) -> None:
    result = json.loads((prepared / "prepared.json").read_text())
    assert sum(result["by_dataset"].values()) == result["count"]
    assert result["by_dataset"].keys() == {"data-1", "data-2"}
    assert Corpus.load([Path(path) for path in packed(prepared)]).sizes == result["by_dataset"]
