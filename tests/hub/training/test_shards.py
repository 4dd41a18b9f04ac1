"""A rank's checkpoints on disk: only what is whole counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub.training import shards


def save(checkpoints: Path, step: int) -> Path:
    """Files as DeepSpeed writes them."""
    folder = checkpoints / shards.tag(step)
    (folder / "zero").mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"model" * step)
    (folder / "zero" / "optimizer.pt").write_bytes(b"state" * step)
    return folder


def test_a_sealed_shard_is_held_and_one_that_was_never_finished_is_not(tmp_path: Path) -> None:
    save(tmp_path, 10)
    assert not shards.holds(tmp_path, 10)
    shards.seal(tmp_path, 10)
    assert shards.holds(tmp_path, 10)
    assert not shards.holds(tmp_path, 20)


@pytest.mark.parametrize("damage", ["cut", "removed", "added"])
def test_a_damaged_shard_is_not_held(tmp_path: Path, damage: str) -> None:
    folder = save(tmp_path, 10)
    shards.seal(tmp_path, 10)
    optimizer = folder / "zero" / "optimizer.pt"
    if damage == "cut":
        optimizer.write_bytes(optimizer.read_bytes()[:-1])
    elif damage == "removed":
        optimizer.unlink()
    else:
        (folder / "more.pt").write_bytes(b"more")
    assert not shards.holds(tmp_path, 10)


def test_the_ranks_of_a_node_seal_once_and_all_tell_the_same(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    save(checkpoints, 10)
    with ThreadPoolExecutor(4) as ranks:
        sealed = set(ranks.map(lambda _: shards.seal(checkpoints, 10), range(8)))
    assert len(sealed) == 1
    assert shards.holds(checkpoints, 10)


def test_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    for step in (10, 20, 30, 100):
        save(tmp_path, step)
        shards.seal(tmp_path, step)
    assert shards.steps(tmp_path) == {20, 30, 100}
    assert all(shards.holds(tmp_path, step) for step in (20, 30, 100))


def test_going_back_forgets_what_came_after(tmp_path: Path) -> None:
    for step in (10, 20):
        save(tmp_path, step)
        shards.seal(tmp_path, step)
    save(tmp_path, 30)
    shards.rewind(tmp_path, 10)
    assert shards.steps(tmp_path) == {10}
    shards.rewind(tmp_path, 0)
    assert shards.steps(tmp_path) == set()
    assert not list(tmp_path.iterdir())


def test_ranks_differ_and_equal_files_do_not(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        save(tmp_path / name, 10)
    (tmp_path / "c" / "step-10" / "model.pt").write_bytes(b"other")
    digests = [shards.seal(tmp_path / name, 10) for name in ("a", "b", "c")]
    assert digests[0] == digests[1] != digests[2]


def test_what_machines_seal_side_by_side_is_one_shard_once_the_last_has(tmp_path: Path) -> None:
    parts = shards.parts(tmp_path / "checkpoints", 2)
    for part in parts:
        save(part, 10)
    first = shards.seal(parts[0], 10)
    assert shards.sealed(parts, 10) is None
    shards.seal(parts[1], 10)
    both = shards.sealed(parts, 10)
    assert both not in (None, first)
    assert shards.parts(tmp_path, 0) == [tmp_path]
