"""Checkpoints are written behind training's back, by all ranks or by none; where nothing else is said there is one."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore, destroy_process_group, init_process_group

from hub.training import shards
from hub.training.saving import Memory, Saver, Snapshot
from trust.digests import Digest


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    destroy_process_group()


class Run:
    """A rank that saves a weight of its own; what it is told of it."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.checkpoints, self.weight, self.told = folder, torch.zeros(50_000), list[tuple[int, str]]()
        self.saver = Saver(folder, keep, self._saved, lambda step, reason: self.told.append((step, reason)))

    def _saved(self, snapshot: Snapshot, shard: Digest) -> None:
        assert shards.holds(self.checkpoints, snapshot.step)
        self.told.append((snapshot.step, "saved"))

    def path(self, step: int) -> Path:
        return self.checkpoints / shards.tag(step) / "model.pt"

    def begin(self, step: int) -> None:
        memory = Memory()
        memory.save({"weight": [self.weight], "step": step}, str(self.path(step)))
        self.saver.begin(Snapshot(step, memory.take()))

    def save(self, step: int) -> None:
        self.begin(step)
        self.saver.wait()


def test_training_goes_on_while_a_disk_is_slow_and_the_checkpoint_is_of_its_step(tmp_path: Path) -> None:
    """A pipe that nobody reads yet is the slowest of disks."""
    run = Run(tmp_path)
    run.path(10).parent.mkdir()
    os.mkfifo(run.path(10))
    run.begin(10)
    run.weight += 1
    assert run.told == []
    written = io.BytesIO(run.path(10).read_bytes())
    run.saver.wait()
    assert run.told == [(10, "saved")]
    assert not torch.load(written)["weight"][0].any()


def test_a_checkpoint_is_told_of_when_it_is_sealed_and_the_policy_says_how_many_stay(tmp_path: Path) -> None:
    run = Run(tmp_path, keep=1)
    for step in (10, 20, 30):
        run.save(step)
        shards.register(tmp_path, step)
    run.save(40)
    assert run.saver.whole == 40
    assert list(shards.held([tmp_path])) == [40, 30]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Holds two checkpoints, not three."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", disk]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let a test mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_costs_a_checkpoint_and_makes_room_for_the_next(small_disk: Path) -> None:
    run = Run(small_disk, keep=3)
    for step in (10, 20):
        run.save(step)
        shards.register(small_disk, step)
    run.save(30)
    assert run.told[2:] == [(30, "rank 0: No space left on device")]
    assert (run.saver.whole, list(shards.held([small_disk]))) == (20, [20])
    run.save(40)
    assert (run.saver.whole, list(shards.held([small_disk]))) == (40, [40, 20])


def test_what_is_no_trouble_of_the_disk_is_raised_where_training_waits(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.saver.begin(Snapshot(10, {run.path(10): (each for each in ())}))
    with pytest.raises(TypeError, match="pickle"):
        run.saver.wait()
    assert run.told == []


def rank_of_a_node(number: int, folder: Path) -> None:
    """One of two that share their node's folder; at step 20 the second finds no disk to write to."""
    init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=number, world_size=2)
    checkpoints, told = folder / "checkpoints", []
    saver = Saver(
        checkpoints,
        2,
        lambda snapshot, shard: told.append([snapshot.step, shard]),
        lambda step, reason: told.append([step, reason]),
    )
    for step in (10, 20, 30):
        lost = number == 1 and step == 20
        path = (folder / "store" if lost else checkpoints / shards.tag(step)) / f"rank-{number}.pt"
        torch.distributed.barrier()  # as DeepSpeed begins to save
        saver.begin(Snapshot(step, {path: torch.full([1000], number)}))
        saver.wait()
    (folder / f"told-{number}").write_text(json.dumps(told))
    destroy_process_group()


@pytest.mark.system
def test_the_ranks_of_a_node_seal_one_shard_of_all_their_files_or_drop_it_together(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(rank_of_a_node, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (json.loads((tmp_path / f"told-{number}").read_text()) for number in (0, 1))
    assert first == second, "the same digests, too"
    assert [step for step, _ in first] == [10, 20, 30]
    assert first[1] == [20, "rank 1: File exists"]
    checkpoints = tmp_path / "checkpoints"
    assert list(shards.held([checkpoints])) == [30, 10]
    assert {path.name for path in (checkpoints / "step-30").iterdir()} == {"rank-0.pt", "rank-1.pt"}
