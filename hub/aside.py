"""Damaged files are set aside: renamed, so that nothing reads them again, and never deleted, for somebody may want to look."""

from __future__ import annotations

from pathlib import Path

from trust.files import sync_folder

DAMAGED = "damaged"


class Aside:
    """The folder `damaged/` beside what it was taken from."""

    def __init__(self, beside: Path) -> None:
        self._directory = beside / DAMAGED

    def has(self, name: str) -> bool:
        return (self._directory / name).exists()

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
