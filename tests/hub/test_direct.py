"""Writing past the page cache gives the file that writing through it gives."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.direct import BLOCK, DirectWriter
from trust.digests import CHUNK

lengths = st.one_of(st.sampled_from([0, 1, BLOCK - 1, BLOCK, 3 * BLOCK, CHUNK]), st.integers(0, 5 * BLOCK))


def write(path: Path, pieces: list[bytes], offset: int = 0) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        writer = DirectWriter(descriptor, offset)
        for piece in pieces:
            writer.write(piece)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@given(st.lists(lengths, max_size=8), st.integers(0, 255))
def test_any_pieces_make_the_same_file(sizes: list[int], first: int) -> None:
    pieces = [bytes([(first + number) % 256]) * size for number, size in enumerate(sizes)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path, pieces)
        assert path.read_bytes() == b"".join(pieces)


@given(st.integers(0, 3 * BLOCK), lengths)
def test_a_file_goes_on_where_it_was_cut(cut: int, more: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(b"a" * cut)
        write(path, [b"b" * more, b"c" * BLOCK], offset=cut)
        assert path.read_bytes() == b"a" * cut + b"b" * more + b"c" * BLOCK


def test_a_file_system_without_direct_writes_is_written_through_the_cache() -> None:
    if not os.access("/dev/shm", os.W_OK):  # noqa: S108
        pytest.skip("There is no /dev/shm, a file system in memory, here.")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder) / "file"
        write(path, [b"x" * CHUNK, b"y" * 10])
        assert path.read_bytes() == b"x" * CHUNK + b"y" * 10


def test_what_the_disk_did_not_take_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            DirectWriter(descriptor, 0).write(b"x" * BLOCK)
    finally:
        os.close(descriptor)
