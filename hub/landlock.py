"""Landlock by its system calls: this process, and all it starts, keeps the given rights below the given paths and no others.

landlock(7) and include/uapi/linux/landlock.h; what the kernel knows is asked first, and of what it knows only that is handled:
rights on files (ABI 1 to 5), TCP (4), abstract sockets and signals to outside (6). A process behind it cannot look into one
that is not (ptrace(2), and what is under /proc/PID).
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION, _PATH_BENEATH = 1, 1
READ_FILE, READ_DIR, WRITE_FILE = 1 << 2, 1 << 3, 1 << 1
OF_FILES = 1 << 0 | 1 << 1 | READ_FILE | 1 << 14 | 1 << 15
"""The rights that a file can have; a folder can have all."""
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
ALL_RIGHTS = (1 << 16) - 1
BIND_AND_CONNECT, SOCKETS_AND_SIGNALS = 3, 3
_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The kernel's version of it; 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def enforce(rules: Iterable[tuple[Path, int]], network: int = 0, scoped: int = 0) -> None:
    """Rights below paths; `network` and `scoped` are what is denied beside files, as far as the kernel can. Raises `OSError`.

    Paths that do not exist are passed over. Only for a process with one thread.
    """
    version = abi()
    if not version:
        raise OSError("this kernel has no Landlock")
    handled = _RIGHTS.get(version, ALL_RIGHTS)
    attributes = struct.pack("=QQQ", handled, network if version >= 4 else 0, scoped if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_CREATE, attributes, ctypes.c_size_t(size), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
        if _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs was refused")
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= OF_FILES
        _call(_ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
