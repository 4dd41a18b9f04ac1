"""What a process may use at most, and that it holds no privilege: rlimits, no_new_privs, no capabilities."""

from __future__ import annotations

import ctypes
import os
import resource
import struct

OPEN_FILES = 256
THREADS = 512
"""The kernel counts it for everybody but root; for root, seccomp refuses processes and the cgroup counts threads."""
_NO_NEW_PRIVS, _GET_NO_NEW_PRIVS, _DROP_BOUND, _SET_DUMPABLE = 38, 39, 24, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


def apply(*, memory: int, seconds: int, addresses: bool) -> None:
    """For this process, for good: bytes of memory, seconds of CPU, nothing written to files, no new descriptors in masses.

    `addresses` bounds the address space too, which a GPU's driver reserves beyond all memory. Raises `OSError`.
    """
    _set(resource.RLIMIT_DATA, memory)
    if addresses:
        _set(resource.RLIMIT_AS, memory + (8 << 30))  # libraries, weights mapped from files, stacks of threads
    _set(resource.RLIMIT_CPU, seconds)
    _set(resource.RLIMIT_FSIZE, 0)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_NOFILE, OPEN_FILES)
    _set(resource.RLIMIT_NPROC, THREADS)
    _set(resource.RLIMIT_MEMLOCK, 64 << 10)
    if _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    drop_capabilities()


def drop_capabilities() -> None:
    """All sets empty (capset(2)), the bounding set as far as we may. Raises `OSError`."""
    for number in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_DROP_BOUND, number, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, bytes(24)):
        raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")


def standing() -> bool:
    """Whether this process is so bound."""
    data = ctypes.create_string_buffer(24)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    powerless = _libc.capget(header, data) == 0 and not any(data.raw[0:8] + data.raw[12:20])
    return (
        powerless
        and _libc.prctl(_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
        and resource.getrlimit(resource.RLIMIT_FSIZE) == (0, 0)
        and resource.getrlimit(resource.RLIMIT_DATA)[1] != resource.RLIM_INFINITY
        and resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY
    )


def _set(kind: int, most: int) -> None:
    """Never above what we have already."""
    _, hard = resource.getrlimit(kind)
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (value, value))
