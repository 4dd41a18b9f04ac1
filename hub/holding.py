"""Who works on a hub's directory: one process alone, or several that elect a leader. The kernel drops the lock with a process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trust.errors import Conflict

FILE = "hub.lock"


@contextmanager
def held(directory: Path, *, together: bool = False) -> Iterator[None]:
    """Hold the directory as long as the block runs (flock(2)): alone, or `together` with others that say so as well.

    Raises `Conflict` when another process has it.
    """
    descriptor = os.open(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if together else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another process serves or repairs the hub in {directory}.", "Stop it first.") from None
        yield
    finally:
        os.close(descriptor)
