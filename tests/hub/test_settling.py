"""Groups of small blobs: whole or not at all after a power cut, durable once acknowledged, one file by its digest in the end."""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.blobs import BlobStore
from hub.fuse import Fuse
from hub.settling import Settling
from tests.hub.disk import Disk, Killed, fails
from trust.digests import digest_bytes, hex_of
from trust.errors import Unavailable


def group(first: int, count: int = 5) -> list[bytes]:
    return [b"envelope %d " % number * 40 for number in range(first, first + count)]


def segments(directory: Path) -> list[Path]:
    return list((directory / "settling").iterdir())


def test_a_group_reads_back_and_costs_one_flush(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    blobs.put_group(group(0))
    disk = Disk(tmp_path)
    with disk.watched():
        blobs.put_group(group(5))
    assert [blobs.read(digest_bytes(data)) for data in group(0, 10)] == group(0, 10)
    assert disk.flushes == 1
    blobs.close()
    assert segments(tmp_path) == []


@settings(max_examples=60)
@given(seed=st.integers(0, 99), stop_at=st.integers(0, 25))
def test_after_a_power_cut_a_blob_is_whole_or_not_there(seed: int, stop_at: int) -> None:
    directory = Path(tempfile.mkdtemp())
    blobs, disk = BlobStore(directory), Disk(directory)
    acknowledged: list[bytes] = []
    try:
        with disk.watched(stop_at):
            for number in range(4):
                blobs.put_group(group(5 * number))
                acknowledged += group(5 * number)
    except Killed:
        pass
    disk.cut_power(random.Random(seed).randrange)
    again = BlobStore(directory)
    again.sweep()
    for path in (directory / "sha256").rglob("*"):
        if path.is_file():
            assert hex_of(digest_bytes(path.read_bytes())) == path.name
    assert [again.read(digest_bytes(blob)) for blob in acknowledged] == acknowledged
    assert segments(directory) == []
    shutil.rmtree(directory)


def test_a_large_segment_is_settled_in_the_background_and_forgotten(tmp_path: Path) -> None:
    settling = Settling(tmp_path, Fuse(), segment_bytes=100)
    for number in range(3):
        settling.add([b"x" * 200 + bytes([number])])
    settling.close()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_flush_refuses_the_group_and_blows_the_fuse(tmp_path: Path) -> None:
    fuse = Fuse()
    heard: list[str] = []
    fuse.listen(heard.append)
    blobs, disk = BlobStore(tmp_path, fuse), Disk(tmp_path)
    blobs.put_group(group(0))
    with disk.watched(2, fails(errno.EIO)), pytest.raises(Unavailable, match="Input/output"):
        blobs.put_group(group(5))
    for again in (lambda: blobs.put_group(group(5)), lambda: blobs.put(b"another")):
        with pytest.raises(Unavailable, match="The hub stops"):
            again()
    assert heard == ["writing a group of blobs failed: Input/output error"]


def test_a_full_disk_refuses_the_group_and_takes_the_next(tmp_path: Path) -> None:
    blobs, disk = BlobStore(tmp_path), Disk(tmp_path)
    blobs.put_group(group(0))
    with disk.watched(1, fails(errno.ENOSPC)), pytest.raises(Unavailable, match="No space left"):
        blobs.put_group(group(5))
    blobs.put_group(group(5))
    assert [blobs.read(digest_bytes(data)) for data in group(0, 10)] == group(0, 10)


def test_a_failed_flush_of_one_blob_blows_the_fuse_too(tmp_path: Path) -> None:
    blobs, disk = BlobStore(tmp_path), Disk(tmp_path)
    with disk.watched(1, fails(errno.EIO)), pytest.raises(Unavailable, match="The hub stops"):
        blobs.put(b"content")
    assert blobs.fuse.reason
    assert not blobs.has(digest_bytes(b"content"))
    assert not list((tmp_path / "partial").iterdir())
