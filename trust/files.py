"""Small files that are either there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import secrets
from os import PathLike
from pathlib import Path


def write_atomic(path: str | PathLike[str], data: bytes, mode: int = 0o644) -> None:
    """Write beside the target, flush to the disk, rename over it, flush the folder.

    An error of fsync is passed on and never tried again: after it, the kernel may have dropped the pages.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_private(path: str | PathLike[str], data: bytes) -> None:
    """Write a secret: the owner alone may read it, from its first byte on."""
    write_atomic(path, data, mode=0o600)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
