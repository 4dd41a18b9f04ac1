"""How processes that pass models on keep their memory."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

REUSED: Final[Mapping[str, str]] = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),  # the most that glibc takes
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "MALLOC_ARENA_MAX": "2",
}
"""Environment for glibc's malloc (mallopt(3)); any other ignores it.

By itself it gives freed copies of a model back to the system, and takes them page by page again: of what Flower does with a
message of 10 MB, which it copies a dozen times, that is two thirds. So freed memory is used again, up to 128 MiB of it in each of
two arenas; what is larger than 32 MiB is still given back at once.
"""


def settle() -> None:
    """Take all that is loaded now for lasting.

    Python looks through all of it now and then for what refers to itself alone: half a million objects with torch loaded, 0.3 s
    of processor, at every site in the same round.
    """
    gc.collect()
    gc.freeze()


KEPT = 128 << 20


def give_back(size: int) -> None:
    """Give what this process has freed back to the system, circles of objects as well (malloc_trim(3)), where it dealt with
    `size` bytes and these are many: among what is in use they would stay for good. Fewer are soon used again."""
    if size < KEPT:
        return
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
