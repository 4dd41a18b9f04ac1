"""A rank's checkpoints on its node's disk: sealed with their digest once they are whole, verified before they are used.

Layout of `checkpoints/`: `step-N/` as DeepSpeed writes it, `step-N.digest` when that is complete, `step-N.registered` when the
hub has recorded it. Imports no torch.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trust.digests import Digest, Hasher, digest_file
from trust.files import write_atomic

PENDING = 3
"""Checkpoints that stay though the hub has not registered them, which may take a while: the newest ones."""


def tag(step: int) -> str:
    return f"step-{step}"


def seal(checkpoints: Path, step: int) -> Digest:
    """Make this rank's files of a step durable and note their digest."""
    for path in _files(checkpoints / tag(step)):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    digest = _digest(checkpoints / tag(step))
    write_atomic(checkpoints / f"{tag(step)}.digest", digest.encode())
    return digest


def register(checkpoints: Path, step: int) -> None:
    """Note that the hub has registered a checkpoint: a run that is interrupted goes on from there."""
    if (checkpoints / f"{tag(step)}.digest").exists():
        write_atomic(checkpoints / f"{tag(step)}.registered", b"")


def thin(checkpoints: Path, registered: int, pending: int = PENDING) -> None:
    """Drop all but the newest `registered` of those that are, and the newest `pending` after these."""
    found = sorted(steps(checkpoints))
    known = [step for step in found if (checkpoints / f"{tag(step)}.registered").exists()]
    after = [step for step in found if not known or step > known[-1]]
    for step in set(found) - {*known[-registered:], *after[-pending:]}:
        _drop(checkpoints, step)


def holds(checkpoints: Path, step: int) -> bool:
    """Whether the step's shard is here as it was sealed."""
    note = checkpoints / f"{tag(step)}.digest"
    return note.is_file() and note.read_text() == _digest(checkpoints / tag(step))


def held(checkpoints: Path) -> list[int]:
    """The steps whose shards are here as they were sealed, in order."""
    return sorted(step for step in steps(checkpoints) if holds(checkpoints, step))


def rewind(checkpoints: Path, step: int) -> None:
    """Forget what is newer than `step`: training takes another course from there."""
    for newer in steps(checkpoints):
        if newer > step:
            _drop(checkpoints, newer)


def steps(checkpoints: Path) -> set[int]:
    """The steps of which anything lies here, sealed or not."""
    names = (path.name.removeprefix("step-").partition(".")[0] for path in checkpoints.glob("step-*"))
    return {int(name) for name in names if name.isdigit()}


def _drop(checkpoints: Path, step: int) -> None:
    for note in ("registered", "digest"):
        (checkpoints / f"{tag(step)}.{note}").unlink(missing_ok=True)
    shutil.rmtree(checkpoints / tag(step), ignore_errors=True)


def _digest(folder: Path) -> Digest:
    """One digest over the files' paths and contents, in order."""
    hasher = Hasher()
    for path in _files(folder):
        hasher.update(f"{path.relative_to(folder).as_posix()} {digest_file(path)}\n".encode())
    return hasher.digest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
