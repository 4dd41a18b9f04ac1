"""An agent's pieces of a copy come to the hub all together or not at all, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import grpc
import pytest

from hub.training import copying, shards
from hub.training.copying import Copying
from hub.training.workplace import Workplace
from protos.coalition.v1 import common_pb2, training_pb2

NAMES = shards.pieces(0, 1, 2)


class Hub(Workplace):
    """A node's way to a hub that takes everything."""

    async def upload(self, paths: Iterable[Path]) -> list[common_pb2.File]:
        return [common_pb2.File(path=path.name, size=path.stat().st_size) for path in paths]


@pytest.fixture
def told() -> asyncio.Queue[training_pb2.NodeMessage]:
    return asyncio.Queue()


@pytest.fixture
def copies(tmp_path: Path, told: asyncio.Queue[training_pb2.NodeMessage]) -> Copying:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        return Copying("run-1", 1, tmp_path, NAMES, Hub(tmp_path, channel), told.put_nowait)


def write(folder: Path, step: int, name: str) -> None:
    (folder / shards.tag(step)).mkdir(exist_ok=True)
    (folder / shards.tag(step) / name).write_bytes(b"piece")


def test_whose_pieces_they_are_follows_from_a_node_s_place() -> None:
    assert shards.pieces(1, 2, 2) == [shards.piece(2, 4), shards.piece(3, 4)]


async def test_pieces_that_a_shared_disk_shows_late_are_waited_for(
    tmp_path: Path, copies: Copying, told: asyncio.Queue[training_pb2.NodeMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "POLL", 0.01)
    write(tmp_path, 10, NAMES[0])
    write(tmp_path, 10, f".{NAMES[1]}")
    copies.begin(10)
    for _ in range(10):
        await asyncio.sleep(0.01)
    assert told.empty()
    write(tmp_path, 10, NAMES[1])
    async with asyncio.timeout(10):
        copied = (await told.get()).copied
    assert [piece.path for piece in copied.pieces] == NAMES
    await copies.end()
    assert list(tmp_path.iterdir()) == []


async def test_a_copy_whose_pieces_never_show_is_left_out_and_so_is_one_that_is_not_wanted(
    tmp_path: Path, copies: Copying, told: asyncio.Queue[training_pb2.NodeMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "LATE", 0.05)
    monkeypatch.setattr(copying, "POLL", 0.01)
    for step in (10, 20):
        write(tmp_path, step, NAMES[0])
    copies.begin(10)
    copies.leave_out(20)
    async with asyncio.timeout(10):
        while any(tmp_path.iterdir()):
            await asyncio.sleep(0.01)
    assert told.empty()
