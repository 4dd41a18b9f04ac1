"""Landlock by its system calls: this process, and all it starts, opens nothing but what lies below the given paths.

landlock(7) and include/uapi/linux/landlock.h; what the kernel knows is asked first, and all that it knows is handled: files
(ABI 1 to 5), TCP (4), abstract sockets and signals to outside (6). UDP and stat(2) are not Landlock's: seccomp and namespaces.
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
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_OF_FILES = 1 << 0 | 1 << 1 | _READ_FILE | 1 << 14 | 1 << 15
_WRITE_FILE = 1 << 1
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_RIGHTS = (1 << 16) - 1
_BIND_AND_CONNECT, _SOCKETS_AND_SIGNALS = 3, 3
_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The kernel's version of it; 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def restrict(readable: Iterable[Path], usable: Iterable[Path] = ()) -> None:
    """Nothing but reading below `readable`, and reading and writing of the devices `usable`. Raises `OSError`.

    Paths that do not exist are passed over. Only for a process with one thread.
    """
    version = abi()
    if not version:
        raise OSError("this kernel has no Landlock")
    handled = _RIGHTS.get(version, _ALL_RIGHTS)
    attributes = struct.pack(
        "=QQQ", handled, _BIND_AND_CONNECT if version >= 4 else 0, _SOCKETS_AND_SIGNALS if version >= 6 else 0
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = _call(_CREATE, attributes, ctypes.c_size_t(size), 0)
    try:
        for path in readable:
            _allow(rules, path, (_READ_FILE | _READ_DIR) & handled)
        for path in usable:
            _allow(rules, path, (_OF_FILES & ~1 | _READ_DIR | _WRITE_FILE) & handled)
        if _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "no_new_privs was refused")
        _call(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        _call(_ADD, rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
