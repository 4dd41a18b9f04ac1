"""A disk that failed once is not trusted again: the fuse blows, every writer refuses, and the process ends.

After a failed fsync the kernel may have dropped the pages that it could not write and report success the next time
(P. Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). So nothing is tried again: whoever
waits is refused, and the next start recovers from what really is on the disk.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trust.errors import Unavailable

_log = logging.getLogger(__name__)


class Fuse:
    """One for all stores of a hub; `listen` callbacks run once, in the thread that met the failure."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[str], None]] = []
        self.reason = ""

    def listen(self, callback: Callable[[str], None]) -> None:
        self._listeners.append(callback)

    def check(self) -> None:
        """Raises `Unavailable` once the fuse has blown."""
        if self.reason:
            raise self._refusal()

    def blow(self, reason: str) -> Unavailable:
        """Nothing more is written. The refusal to give to whoever waits is returned."""
        with self._lock:
            first = not self.reason
            self.reason = self.reason or reason
        if first:
            _log.critical("the hub stops: %s", reason)
            for listener in self._listeners:
                listener(reason)
        return self._refusal()

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """A step whose failure nobody can undo: an OSError in it blows the fuse. Raises `Unavailable`."""
        self.check()
        try:
            yield
        except OSError as error:
            raise self.blow(f"{what} failed: {error.strerror or error}") from None

    def _refusal(self) -> Unavailable:
        return Unavailable(
            f"The hub stops ({self.reason}); nothing was acknowledged.",
            "If it was the disk, check it and its space. Start the hub again, then send the same again.",
        )
