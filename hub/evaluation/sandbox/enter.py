"""The first step into the sandbox, in a process of its own: joins cgroups, leaves the network, becomes the worker.

`python -I -S enter.py PARENT unshare|stay CGROUP,... COMMAND...`. It imports nothing of ours: it runs as a plain file.
`unshare` is for a machine without bubblewrap: user, network, IPC and host-name namespaces of our own by unshare(2), as far as
the kernel gives them; the worker finds out which.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_NEW_USER, _NEW_NETWORK, _NEW_IPC, _NEW_NAMES = 0x10000000, 0x40000000, 0x08000000, 0x04000000
_PR_SET_PDEATHSIG = 1
_NOBODY = 65534


def leave() -> None:
    """Into namespaces of our own, as nobody there."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK | _NEW_IPC | _NEW_NAMES):
        return
    with suppress(OSError):
        Path("/proc/self/uid_map").write_text(f"{_NOBODY} {user} 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{_NOBODY} {group} 1")


def main(parent: int, how: str, cgroups: str, command: list[str]) -> None:
    for folder in filter(None, cgroups.split(",")):
        Path(folder, "cgroup.procs").write_text("0")
    if how == "unshare":
        leave()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # new credentials have cleared it
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
