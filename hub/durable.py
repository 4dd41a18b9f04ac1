"""Making written bytes survive a power cut. A function that raised OSError leaves a file that must not be trusted."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

from trust.errors import Unavailable

AT_ONCE = 64
"""Files that are open together."""

FLUSHERS = 12

_libc = ctypes.CDLL(None, use_errno=True)


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files of which nobody has heard yet, all durable when this returns: first all bytes, then all flushes."""
    folders: dict[Path, None] = {}
    names = iter(files)
    while some := list(islice(names, AT_ONCE)):
        descriptors: list[int] = []
        try:
            for name in some:
                path = directory / name
                _make_folder(path.parent, directory, folders)
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptors.append(os.open(path, flags, 0o644))
                write_all(descriptors[-1], files[name])
            for folder in folders:
                descriptors.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            folders.clear()
            _flush_together(descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _flush_together(descriptors: Sequence[int]) -> None:
    """Flushes that wait for the disk at the same time share its journal's commits: a dozen cost little more than one."""
    with ThreadPoolExecutor(min(len(descriptors), FLUSHERS)) as flushers:
        list(flushers.map(os.fsync, descriptors))


def write_all(descriptor: int, data: bytes) -> None:
    """write(2) may take less than it is given."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def remove_left_behind(folder: Path, older: float) -> None:
    """Remove the temporary files that a crash left; where others write too, only those `older` than so many seconds."""
    for path in folder.glob("*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= older:
                path.unlink()


def raise_if_full(error: OSError) -> None:
    """A disk without room takes no data, and is otherwise sound. Raises `Unavailable` for that error alone."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise Unavailable(f"The hub's disk does not take the data: {error.strerror}.", "Free some space.") from None


def sync_file_system(descriptor: int) -> None:
    """Flush everything on the file system of an open file (syncfs(2)), and report what failed since it was opened."""
    if _libc.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _make_folder(folder: Path, top: Path, changed: dict[Path, None]) -> None:
    """The folder, and into `changed` every folder whose own entries are new."""
    if folder not in changed:
        if folder != top and not folder.is_dir():
            _make_folder(folder.parent, top, changed)
            folder.mkdir(exist_ok=True)
        changed[folder] = None
