"""The command line of bubblewrap (bwrap(1)): a tree of files of its own, no network, no other processes, no privileges."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from hub.evaluation.sandbox import files

SCRATCH = 64 << 20


def program() -> str | None:
    """Where it is installed."""
    return shutil.which("bwrap")


def wrapped(bwrap: str, command: Sequence[str], *, hidden: Path, shown: Sequence[Path]) -> list[str]:
    """The command inside: of the folder `hidden` (the hub's) it sees only what lies in `shown`."""
    words = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--chdir", "/"]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(SCRATCH), "--tmpfs", "/tmp"]  # noqa: S108
    for folder in (*files.system(), *files.python()):
        words += ["--ro-bind-try", str(folder), str(folder)]
    for device in files.gpus():
        words += ["--dev-bind-try", str(device), str(device)]
    for folder in files.kernel():
        if folder.is_relative_to("/sys"):
            words += ["--ro-bind-try", str(folder), str(folder)]
    words += ["--size", "4096", "--tmpfs", str(hidden)]
    for folder in shown:
        words += ["--ro-bind", str(folder), str(folder)]
    return [*words, "--remount-ro", str(hidden), "--", *command]
