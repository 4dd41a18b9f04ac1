"""The sender's side of an upload: chunks, each with the digest of the file up to its end (`UploadChunk` in submissions.proto)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from protos.coalition.v1 import submissions_pb2
from trust.digests import CHUNK, Digest
from trust.errors import Invalid


class Source:
    """A file that is signed for and sent. It is hashed once: what `digest` has read is not hashed again while it is sent, nor
    however often the connection is cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._states = [hashlib.sha256()]  # after 0, 1, 2 ... whole chunks

    @property
    def path(self) -> Path:
        return self._path

    @property
    def size(self) -> int:
        return self._path.stat().st_size

    def digest(self) -> Digest:
        """Of the whole file. Raises `Invalid` when it becomes shorter meanwhile."""
        with self._path.open("rb") as file:
            return Digest(f"sha256:{self._prefix(file, self.size).hex()}")

    def chunks(
        self, submission: str, digest: str, offset: int, advance: Callable[[int], None]
    ) -> Iterator[submissions_pb2.UploadChunk]:
        """The messages of one upload that begins at `offset`. Raises `Invalid` when the file has become shorter."""
        with self._path.open("rb") as file:
            prefix = self._prefix(file, offset)
            yield submissions_pb2.UploadChunk(submission=submission, digest=digest, offset=offset, prefix=prefix)
            file.seek(offset)
            start = b""  # of the chunk in which an upload was cut
            if offset % CHUNK:
                file.seek(offset - offset % CHUNK)
                start = file.read(offset % CHUNK)
            while data := file.read(CHUNK - len(start)):
                prefix = self._after(offset // CHUNK, start, data)
                yield submissions_pb2.UploadChunk(offset=offset, data=data, prefix=prefix)
                advance(len(data))
                offset += len(data)
                start = b""

    def _prefix(self, file: BinaryIO, offset: int) -> bytes:
        """The SHA-256 of the first `offset` bytes."""
        whole, rest = divmod(offset, CHUNK)
        file.seek((len(self._states) - 1) * CHUNK)
        while len(self._states) <= whole:
            self._after(len(self._states) - 1, b"", self._exactly(file, CHUNK))
        state = self._states[whole].copy()
        if rest:
            file.seek(whole * CHUNK)
            state.update(self._exactly(file, rest))
        return state.digest()

    def _after(self, number: int, start: bytes, data: bytes) -> bytes:
        """The SHA-256 up to the end of `data`, which with `start` before it is (of the last, the beginning of) a chunk."""
        if number + 1 < len(self._states):
            return self._states[number + 1].digest()
        state = self._states[number].copy()
        state.update(start)
        state.update(data)
        if len(start) + len(data) == CHUNK:
            self._states.append(state)
        return state.digest()

    def _exactly(self, file: BinaryIO, count: int) -> bytes:
        data: bytes = file.read(count)
        if len(data) != count:
            raise Invalid(f"{self._path.name} has become shorter since it was signed for.", "Submit it again.")
        return data
