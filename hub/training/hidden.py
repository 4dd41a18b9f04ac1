"""Runs a command from which some folders are hidden: `python -m hub.training.hidden FOLDER... -- COMMAND...`.

A node's key lies on the node's disk, and what trains there runs under the same user. Landlock knows only what is allowed, so
everything is, but the hidden folders and the way to them: of the folders that lead there, the other entries. What is new in
those folders later stays out of reach, so what a command writes must go elsewhere. Nor is the agent looked into: Landlock keeps
ptrace(2) and most of /proc/PID, and of the capabilities of root those are given up that read the rest.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hub.landlock import ALL_RIGHTS, enforce

_PR_CAPBSET_DROP = 24
_LOOKING_INTO_OTHERS = (19, 21, 38)  # CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON


def hiding(folders: Iterable[Path], command: Sequence[str]) -> list[str]:
    """The command, to be run without sight of these folders."""
    return [sys.executable, "-m", "hub.training.hidden", *map(str, folders), "--", *command]


def visible(folders: Iterable[Path]) -> list[Path]:
    """All that lies on no way to these folders. A link is passed over: what it leads to is found where it is."""
    hidden = {folder.resolve() for folder in folders}
    leading = {parent for folder in hidden for parent in folder.parents}
    return [
        entry
        for folder in sorted(leading)
        if not hidden & {folder, *folder.parents}
        for entry in sorted(folder.iterdir())
        if not entry.is_symlink() and entry not in leading | hidden
    ]


def main(arguments: Sequence[str]) -> None:
    """Becomes the command."""
    split = arguments.index("--")
    try:
        enforce((path, ALL_RIGHTS) for path in visible(map(Path, arguments[:split])))
    except OSError as error:
        sys.exit(f"A run could read this node's key: {error}. To allow that: coalition-hub node --show-key.")
    for capability in _LOOKING_INTO_OTHERS:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused to all but root, who alone has them
    command = list(arguments[split + 1 :])
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
