"""Bytes written past the page cache, where the file system can: what a hub receives, it does not read again soon.

Through the cache every page is taken from the system, filled, and written later in one long flush; 10 GB of a submission would
also push out what others need. Direct writes (open(2), O_DIRECT) need aligned memory, offsets and lengths; the rest of a file
goes through the cache as usual. Neither is durable before fsync.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from trust.digests import CHUNK

BLOCK: Final = 4096
"""What every disk takes at a time: offsets and lengths are multiples of it."""
_DIRECT = getattr(os, "O_DIRECT", 0)


class DirectWriter:
    """Appends to an open file from `offset` on; the descriptor stays the caller's. Not for two threads at once."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor, self._offset = descriptor, offset
        self._possible = bool(_DIRECT)
        self._direct = False

    def write(self, data: bytes) -> None:
        """All of it, of at most `CHUNK` bytes. Raises `OSError`; what was written before is in the file."""
        whole = len(data) % BLOCK == 0 and self._offset % BLOCK == 0
        self._choose(direct=whole and len(data) > 0)
        if self._direct:
            with _aligned(data) as copy:
                self._write_all(copy)
        else:
            self._write_all(memoryview(data))

    def _choose(self, *, direct: bool) -> None:
        """Switch the descriptor, if it is not so already; a file system that cannot is not asked again."""
        if direct == self._direct or not self._possible:
            return
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | _DIRECT if direct else flags & ~_DIRECT)
        except OSError:
            self._possible = False
            return
        self._direct = direct

    def _write_all(self, data: memoryview) -> None:
        with data:
            done = 0
            while done < len(data):
                count = os.pwrite(self._descriptor, data[done:], self._offset)
                done += count
                self._offset += count
                if done < len(data) and count % BLOCK:
                    self._choose(direct=False)  # a nearly full disk took part of a block


_spare: list[mmap.mmap] = []
"""Aligned memory that no writer uses now: as many pieces as wrote at the same time, however many uploads are open."""


@contextmanager
def _aligned(data: bytes) -> Iterator[memoryview]:
    """A copy that begins at a page."""
    try:
        buffer = _spare.pop()
    except IndexError:
        buffer = mmap.mmap(-1, CHUNK)
    try:
        buffer[: len(data)] = data
        with memoryview(buffer) as whole, whole[: len(data)] as copy:
            yield copy
    finally:
        _spare.append(buffer)
