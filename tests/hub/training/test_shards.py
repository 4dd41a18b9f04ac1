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


def test_it_knows_which_checkpoints_are_still_as_they_were_sealed(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        save(tmp_path, step)
        shards.seal(tmp_path, step)
    save(tmp_path, 200)
    (tmp_path / "step-20" / "model.pt").write_bytes(b"damage")
    assert list(shards.held([tmp_path])) == [100, 3]


@pytest.mark.parametrize(
    ("registered", "keep", "stay"),
    [
        ([], 2, {30, 40, 100}),
        ([10], 2, {10, 30, 40, 100}),
        ([10, 20], 2, {10, 20, 30, 40, 100}),
        ([10, 20], 1, {20, 30, 40, 100}),
        ([10, 40, 100], 2, {40, 100}),
    ],
    ids=["none is registered", "the hub is far behind", "all are wanted", "one is enough", "the hub knows the newest"],
)
def test_what_a_run_would_go_on_from_stays_and_the_newest_that_may_be_registered_yet(
    tmp_path: Path, registered: list[int], keep: int, stay: set[int]
) -> None:
    for step in (10, 20, 30, 40, 100):
        save(tmp_path, step)
        shards.seal(tmp_path, step)
    for step in registered:
        shards.register(tmp_path, step)
    shards.thin(tmp_path, keep)
    assert shards.steps(tmp_path) == stay
    assert set(shards.held([tmp_path])) == stay


def test_what_is_not_here_is_not_noted_as_registered(tmp_path: Path) -> None:
    save(tmp_path, 10)
    shards.register(tmp_path, 10)
    shards.register(tmp_path, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["step-10"]


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


def test_machines_hold_together_what_each_of_them_holds(tmp_path: Path) -> None:
    parts = shards.parts(tmp_path, 2)
    for part, steps in zip(parts, ((10, 20, 30), (10, 30)), strict=True):
        for step in steps:
            save(part, step)
            shards.seal(part, step)
    (parts[1] / "step-30" / "model.pt").write_bytes(b"damage")
    assert list(shards.held(parts)) == [10]
    assert list(shards.held(parts[:1])) == [30, 20, 10]
    assert list(shards.held(shards.parts(tmp_path, 3))) == [], "a third has nothing"
    assert set(shards.all_parts(tmp_path)) == {tmp_path, *parts}, "and the lock is none"
