"""One process at a time works on a hub's directory: a lock that the kernel drops with the process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trust.errors import Conflict

FILE = "hub.lock"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the directory as long as the block runs (flock(2)). Raises `Conflict` when another process has it."""
    descriptor = os.open(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"Another process serves or repairs the hub in {directory}.", "Stop it first.") from None
        yield
    finally:
        os.close(descriptor)
