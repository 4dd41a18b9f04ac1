"""Damaged files are set aside: renamed, so that nothing reads them again, and kept, for somebody may want to look."""

from __future__ import annotations

from pathlib import Path

from trust.files import sync_folder

DAMAGED = "damaged"


class Aside:
    """The folder `damaged/` beside what it was taken from."""

    def __init__(self, beside: Path) -> None:
        self._directory = beside / DAMAGED

    def has(self, name: str) -> bool:
        return any(path.name.partition(".")[0] == name for path in self._directory.glob(f"{name}*"))

    def take(self, path: Path, name: str) -> Path:
        """Move a file here under `name`, durably; where it is now. Further ones of that name are numbered. Raises OSError."""
        self._directory.mkdir(exist_ok=True, mode=0o700)
        number, target = 1, self._directory / name
        while target.exists():
            number += 1
            target = self._directory / f"{name}.{number}"
        path.rename(target)
        for folder in (self._directory, self._directory.parent, path.parent):
            sync_folder(folder)
        return target

    def drop(self, name: str) -> None:
        """Delete what is kept under a name, durably: what must not be anywhere must not be here. Raises OSError."""
        kept = [path for path in self._directory.glob(f"{name}*") if path.name.partition(".")[0] == name]
        for path in kept:
            path.unlink(missing_ok=True)
        if kept:
            sync_folder(self._directory)
