"""What comes in is verified before it is written: each chunk, its place, and with them everything before it, in one pass."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from trust.digests import CHUNK, Digest, Hasher
from trust.errors import Conflict, Corrupt, Invalid


class Receiving(ABC):
    """`size` bytes on their way to a place that a subclass knows; a context manager. `offset` is how many are there."""

    def __init__(self, digest: Digest, size: int, offset: int = 0) -> None:
        self._digest, self._size, self.offset = digest, size, offset
        self.verified: Callable[[], None] = _nothing
        """Called once all bytes are known to be the digest's, and before the blob appears."""
        self._hasher = Hasher()
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Append. Raises `Invalid` beyond the announced size, `Unavailable` when the disk is full."""
        if self.offset + len(data) > self._size:
            raise Invalid(f"More than the announced {self._size} bytes came for {self._digest}.")
        self._hasher.update(data)
        self._take(data)
        self.offset += len(data)

    def expect(self, prefix: bytes) -> None:
        """Whether what is here begins as the sender's file does. Raises `Corrupt`, and forgets it, if not."""
        if self._hasher.prefix() != prefix:
            self._forget()
            raise Corrupt(
                f"The {self.offset} bytes held of {self._digest} are not how your file begins.",
                "Send it from its start.",
            )

    def append(self, offset: int, data: bytes, prefix: bytes) -> None:
        """Write a chunk, once it is known to be the next one of the sender's file.

        `prefix` is the SHA-256 (32 bytes) of the file up to the chunk's end. Raises `Conflict` for a wrong place, `Invalid`
        for a wrong size, `Corrupt` for other bytes: then this is closed to more, and what came before can be resumed.
        """
        if offset != self.offset:
            raise Conflict(f"The upload of {self._digest} stands at byte {self.offset}, not {offset}.", "Resume there.")
        end = offset + len(data)
        if not 0 < len(data) <= CHUNK or end > self._size or (end % CHUNK and end != self._size):
            raise Invalid(f"A chunk ends at a multiple of {CHUNK} or at byte {self._size}, not at {end}.", field="data")
        with self._writing:
            self._hasher.update(data)
            if self._hasher.prefix() != prefix:
                raise Corrupt(f"The chunk at byte {offset} of {self._digest} was changed on its way.", "Send it again.")
            self._take(data)
            self.offset = end

    def close(self) -> None:
        """Waits for a chunk that is being written."""
        with self._writing:
            self._close()

    @abstractmethod
    def finish(self) -> bool:
        """Publish when complete; False when bytes are still to come. Raises `Corrupt` for other bytes than announced."""

    @abstractmethod
    def _take(self, data: bytes) -> None: ...

    @abstractmethod
    def _forget(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...


def _nothing() -> None:
    """Nobody wants to know."""
