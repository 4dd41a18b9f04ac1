"""What a process may use at most, and that it holds no privilege: rlimits, no_new_privs, no capabilities, the last in turn."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

OPEN_FILES = 256
THREADS = 512
"""The kernel counts it for everybody but root; for root, seccomp refuses processes and the cgroup counts threads."""
NICE = 10
FIRST_TO_GO = 1000
"""oom_score_adj: where memory is short, the kernel kills this process before any other."""
_NO_NEW_PRIVS, _GET_NO_NEW_PRIVS, _DROP_BOUND, _GET_DUMPABLE, _SET_DUMPABLE = 38, 39, 24, 3, 4
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Most:
    """Bytes of memory, seconds of the processors; `addresses` bounds the address space too, which a GPU's driver reserves
    beyond all memory."""

    memory: int = 16 << 30
    seconds: int = 3600
    addresses: bool = True

    @property
    def limits(self) -> dict[int, int]:
        """By number of the resource: besides, nothing written to files, and no descriptors in masses."""
        found = {
            resource.RLIMIT_DATA: self.memory,
            resource.RLIMIT_CPU: self.seconds,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_NOFILE: OPEN_FILES,
            resource.RLIMIT_NPROC: THREADS,
            resource.RLIMIT_MEMLOCK: 64 << 10,
            resource.RLIMIT_MSGQUEUE: 0,
            resource.RLIMIT_RTPRIO: 0,
        }
        if self.addresses:
            found[resource.RLIMIT_AS] = self.memory + (8 << 30)  # libraries, weights mapped from files, threads' stacks
        return found


def apply(most: Most) -> None:
    """For this process, for good. Raises `OSError`."""
    with suppress(OSError):  # a container may keep /proc from being written
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO))
    os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    for kind, value in most.limits.items():
        _set(kind, value)
    if _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    drop_capabilities()
    _libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # no process of the same user reads its memory


def drop_capabilities() -> None:
    """All sets empty (capset(2)), the bounding set as far as we may. Raises `OSError`."""
    for number in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_DROP_BOUND, number, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, bytes(24)):
        raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")


def standing(most: Most) -> bool:
    """Whether this process is bound by all that `apply` asks for, hard, and holds no capability in any set that counts."""
    return (
        all(0 <= resource.getrlimit(kind)[1] <= value for kind, value in most.limits.items())
        and _powerless()
        and _libc.prctl(_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
        and _libc.prctl(_GET_DUMPABLE, 0, 0, 0, 0) == 0
        and os.getpriority(os.PRIO_PROCESS, 0) >= NICE
    )


def _powerless() -> bool:
    """No capability is effective, permitted or inheritable; what is not permitted cannot be ambient (capabilities(7))."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    return _libc.capget(header, data) == 0 and not any(data.raw)


def _set(kind: int, most: int) -> None:
    """Never above what we have already."""
    _, hard = resource.getrlimit(kind)
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (value, value))
