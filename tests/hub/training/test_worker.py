"""Real torchrun with DeepSpeed on two ranks, each with a disk of its own: a killed run resumes to the same result."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from hub.training import shards
from hub.training.launch import torchrun, worker_environment
from hub.training.prepare import main as prepare
from learning.corpus import Corpus
from trust.digests import digest_file

pytestmark = pytest.mark.system
STEPS = 10
SPEC = {
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
        "zero_stage": 1,
    },
    "placement": {"nodes": 2},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokenizer and tokens of some real text, as rank 0 makes them."""
    folder = tmp_path_factory.mktemp("prepared")
    source = Path(os.__file__).read_text()
    shard = folder / "shard.jsonl"
    shard.write_text("".join(json.dumps({"text": part}) + "\n" for part in source.split("\n\n")))
    job = folder / "job.json"
    job.write_text(json.dumps({"spec": SPEC, "datasets": {"data-1": {"domain": "code", "paths": [str(shard)]}}}))
    prepare(job)
    return folder


class Gang:
    """Two ranks of a run; `folder` keeps each rank's checkpoints across attempts."""

    def __init__(self, prepared: Path, folder: Path, attempt: int, resume_step: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.folders = [folder / f"attempt-{attempt}-rank-{rank}" for rank in range(2)]
        self.ranks = [self._start(rank, prepared, folder, resume_step, port) for rank in range(2)]

    def _start(self, rank: int, prepared: Path, folder: Path, resume: int, port: int) -> subprocess.Popen[bytes]:
        own = self.folders[rank]
        own.mkdir(parents=True)
        job = {
            "spec": SPEC,
            "tokenizer": str(prepared / "tokenizer"),
            "tokens": str(prepared / "tokens.safetensors"),
            "folder": str(own),
            "checkpoints": str(folder / f"checkpoints-{rank}"),
            "resume_step": resume,
        }
        (own / "job.json").write_text(json.dumps(job))
        command = torchrun(own / "job.json", rank=rank, world=2, host="127.0.0.1", port=port)
        with (own / "log").open("wb") as log:
            return subprocess.Popen(
                command, env=worker_environment(1, True), stdout=log, stderr=log, start_new_session=True
            )

    def events(self, rank: int) -> list[dict[str, object]]:
        path = self.folders[rank] / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def checkpoints(self, rank: int) -> list[dict[str, object]]:
        return [event for event in self.events(rank) if event["kind"] == "checkpoint"]

    def wait_for_checkpoints(self) -> None:
        """Until every rank has its first."""
        end = time.monotonic() + 120
        while not all(self.checkpoints(rank) for rank in range(2)):
            assert time.monotonic() < end, (self.folders[0] / "log").read_text()[-2000:]
            time.sleep(0.05)

    def wait(self) -> list[int]:
        return [process.wait(120) for process in self.ranks]

    def kill(self) -> None:
        for process in self.ranks:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_loss(gang: Gang) -> object:
    return [event["loss"] for event in gang.events(0) if event["kind"] == "progress"][-1]


def test_a_killed_gang_resumes_to_the_very_model_of_an_uninterrupted_one(prepared: Path, tmp_path: Path) -> None:
    whole = Gang(prepared, tmp_path / "whole", 1, 0)
    assert whole.wait() == [0, 0], (whole.folders[0] / "log").read_text()[-2000:]
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
    assert last_loss(resumed) == last_loss(whole)
    model = [digest_file(gang.folders[0] / "model" / "model.safetensors") for gang in (whole, resumed)]
    assert model[0] == model[1]


def test_preparation_counts_the_tokens_of_every_dataset(prepared: Path) -> None:
    result = json.loads((prepared / "prepared.json").read_text())
    assert result["by_dataset"] == {"data-1": result["count"]}
    assert Corpus.load(prepared / "tokens.safetensors", 512).sizes == result["by_dataset"]
