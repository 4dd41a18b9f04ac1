"""How the threads of a hub's process share what there is one of: the interpreter, and the memory."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

SWITCH = 0.0005
"""Seconds after which a thread that computes lets another have the interpreter. Python's own 5 ms, times as many threads as
compute, is what every call would wait for after every wait for the network."""
ARENAS = 2
"""Heaps that malloc divides the threads among. glibc's own 8 for every processor keep, each for itself, what uploads freed: with
a hundred at once 50 MiB more."""
_M_ARENA_MAX = -8  # mallopt(3)


def share_fairly() -> None:
    """Before threads begin. Where the C library is not glibc, its own ways with memory stay."""
    sys.setswitchinterval(SWITCH)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
