"""Landlock for the evaluation worker: it opens nothing but what lies below the given paths, and speaks to nobody.

UDP and stat(2) are not Landlock's: seccomp and namespaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from hub.landlock import BIND_AND_CONNECT, OF_FILES, READ_DIR, READ_FILE, SOCKETS_AND_SIGNALS, WRITE_FILE, enforce

_EXECUTE = 1


def restrict(readable: Iterable[Path], usable: Iterable[Path] = ()) -> None:
    """Nothing but reading below `readable`, and reading and writing of the devices `usable`. Raises `OSError`.

    Paths that do not exist are passed over. Only for a process with one thread.
    """
    reading = ((path, READ_FILE | READ_DIR) for path in readable)
    using = ((path, OF_FILES & ~_EXECUTE | READ_DIR | WRITE_FILE) for path in usable)
    enforce(chain(reading, using), BIND_AND_CONNECT, SOCKETS_AND_SIGNALS)
