"""A bound on the worker's memory and processes together, where this process may make a cgroup (cgroups(7), versions 1 and 2)."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

PROCESSES = 1024
_ROOT = Path("/sys/fs/cgroup")


class Cgroups:
    """Folders of the worker's own; none where they cannot be made."""

    def __init__(self, memory: int) -> None:
        _sweep()
        name = f"coalition-{os.getpid()}-{secrets.token_hex(4)}"
        self.folders: tuple[Path, ...] = ()
        made: list[Path] = []
        try:
            if (_ROOT / "cgroup.controllers").exists():
                folder = _ROOT / Path("/proc/self/cgroup").read_text().partition("::/")[2].strip() / name
                made += [_make(folder)]
                _bound(folder, {"memory.max": memory, "pids.max": PROCESSES})
            else:
                for controller, limit, value in (
                    ("memory", "memory.limit_in_bytes", memory),
                    ("pids", "pids.max", PROCESSES),
                ):
                    made += [_make(_ROOT / controller / name)]
                    _bound(made[-1], {limit: value})
            self.folders = tuple(made)
        except OSError:
            _remove(made)

    def hold(self) -> bool:
        """Whether there are processes in all of them."""
        return bool(self.folders) and all((folder / "cgroup.procs").read_text().split() for folder in self.folders)

    def remove(self) -> None:
        """Once its processes are gone; what is not gone yet is swept when the next worker starts."""
        _remove(self.folders)
        self.folders = ()


def _sweep() -> None:
    """Remove what is empty and was left by this process, or by one that is gone."""
    for folder in [*_ROOT.glob("coalition-*-*"), *_ROOT.glob("*/coalition-*-*")]:
        process = folder.name.split("-")[1]
        if process == str(os.getpid()) or not Path("/proc", process).exists():
            _remove([folder])


def _make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _bound(folder: Path, limits: dict[str, int]) -> None:
    for file, value in limits.items():
        (folder / file).write_text(str(value))


def _remove(folders: list[Path] | tuple[Path, ...]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
