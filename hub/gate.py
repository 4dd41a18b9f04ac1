"""Between those who rely on a blob and the one who deletes: many may pass together, or the deleter alone.

Whoever writes down that it counts on a blob, or stores one again that is there, passes `keeping`. The deleter asks who needs
the blob, and deletes it, while it holds `alone`. So either it sees what was written down, or the other finds the blob gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hub.durable import raise_if_full
from hub.fuse import Fuse
from trust.errors import Unavailable


class Gate:
    """flock(2) on a file: across threads, and across the processes that share the directory. Who comes late waits."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        self._path, self._fuse = path, fuse

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Nothing is deleted while the block runs. Raises `Unavailable` when the disk does not give the lock."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody is `keeping` while the block runs: do little in it, and no writing that waits for others. Raises the same."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """A descriptor of its own for everyone: the lock belongs to what was opened, not to the process."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refusal(error) from None
        try:
            try:
                fcntl.flock(descriptor, kind)
            except OSError as error:
                raise self._refusal(error) from None
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # should closing fail, nobody must wait for ever
            os.close(descriptor)

    def _refusal(self, error: OSError) -> Unavailable:
        """A disk that fails here is not trusted with what would be stored either."""
        raise_if_full(error)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return Unavailable("The hub has too many files open.", "Try again.")
        return self._fuse.blow(f"locking the blobs failed: {error.strerror or error}")
