"""Many small blobs made durable by one flush.

A group of blobs goes, one record after the other, into an append-only segment that is flushed once; their files are
written too, but not flushed. When a segment has grown, everything on the file system is flushed in the background
(syncfs), and the segment is dropped. After a crash every record of the segments that are left is written again where its
file is not whole. So a blob is one file by its digest at all times, and a group costs one flush.

The segment comes first: a file without a durable record could be cut by a crash and still look as if it were stored.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hub.durable import raise_if_full, sync_file_system, write_all
from hub.fuse import Fuse
from trust.errors import Unavailable
from trust.files import sync_folder

SEGMENT = 16 << 20
"""Bytes after which a segment is settled."""

_HEADER = struct.Struct(">I32s")  # length of the data, its SHA-256


class Settling:
    """The segments in a directory. One thread adds."""

    def __init__(self, directory: Path, fuse: Fuse, segment_bytes: int = SEGMENT) -> None:
        self._directory, self._fuse, self._limit = directory, fuse, segment_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._descriptor = -1
        self._path = directory
        self._size = 0
        self._settler: threading.Thread | None = None

    def recover(self, place: Callable[[bytes], None]) -> None:
        """At start-up: `place` every blob that may not have reached its file, flush these and forget the segments."""
        segments = self._segments()
        if segments:
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for path in segments:
                for blob in _records(path.read_bytes()):
                    place(blob)
            self._settle(descriptor, segments)
            self._fuse.check()

    def add(self, blobs: Sequence[bytes]) -> None:
        """Make blobs durable, whose files must be written next. Raises `Unavailable` when the disk is full or failed."""
        data = b"".join(_HEADER.pack(len(blob), hashlib.sha256(blob).digest()) + blob for blob in blobs)
        with self._fuse.guard("writing a group of blobs"):
            if self._size > self._limit and not (self._settler and self._settler.is_alive()):
                self._rotate()
            if self._descriptor < 0:
                self._open()
            try:
                write_all(self._descriptor, data)
            except OSError as error:
                os.ftruncate(self._descriptor, self._size)  # nothing may follow a record that was cut
                raise_if_full(error)
                raise
            os.fdatasync(self._descriptor)
            self._size += len(data)

    def close(self) -> None:
        """Settle what was added."""
        self._wait()
        if self._descriptor >= 0:
            self._rotate()
            self._wait()

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("*.segment"))

    def _open(self) -> None:
        """A new segment, whose name is durable."""
        last = max((int(path.stem) for path in self._segments()), default=0)
        self._path = self._directory / f"{last + 1:08d}.segment"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = 0
        sync_folder(self._directory)

    def _rotate(self) -> None:
        """All files of the segment are written by now: settle them."""
        arguments = (self._descriptor, [self._path])
        self._descriptor, self._size = -1, 0
        self._settler = threading.Thread(target=self._settle, args=arguments, name="settling", daemon=True)
        self._settler.start()

    def _wait(self) -> None:
        if self._settler:
            self._settler.join()

    def _settle(self, descriptor: int, segments: Sequence[Path]) -> None:
        """Flush everything, as seen by a file that was opened before it was written; then the segments have served."""
        with suppress(Unavailable), self._fuse.guard("flushing blobs"):
            sync_file_system(descriptor)
            for path in segments:
                path.unlink()
        os.close(descriptor)


def _records(data: bytes) -> Iterator[bytes]:
    """The blobs in a segment, up to the first that a crash cut."""
    position = 0
    while position + _HEADER.size <= len(data):
        length, digest = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        blob = data[position : position + length]
        if hashlib.sha256(blob).digest() != digest:
            return
        yield blob
        position += length
