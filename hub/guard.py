"""Runs a command that must not outlive the process that started it: `guarded(command)` gives the command to start.
And keeps the memory of a process that holds keys to itself.

Linux kills a child whose parent dies if the child has asked for it (prctl(2), PR_SET_PDEATHSIG). The child asks here, in
a process of its own before it becomes the command, and not between fork and exec: gRPC's threads do not survive that.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


def guarded(command: Sequence[str]) -> list[str]:
    """The command, to be started by this very process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def die_with_parent() -> None:
    """For this process; does nothing where there is no prctl."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_secrets() -> None:
    """For a process that holds keys: no core of it is written, and no other process of its user reads its memory (prctl(2))."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)


if __name__ == "__main__":
    die_with_parent()
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)  # the parent died before we asked
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
