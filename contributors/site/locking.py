"""Files of a site that more than one of its processes changes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(home: Path, name: str) -> Iterator[None]:
    """No other process of the site is in a block of this name meanwhile; who comes late waits."""
    folder = home / "site"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
