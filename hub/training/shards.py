"""A node's part of checkpoints on its disk: sealed with their digest once they are whole, verified before they are used.

Layout of `checkpoints/`: `step-N/` as DeepSpeed writes it, `step-N.digest` when that is complete, `step-N.registered` when the
hub has recorded it. Imports no torch.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trust.digests import Digest, Hasher, digest_file, parse_digest
from trust.files import write_atomic

PENDING = 3
"""Checkpoints that stay though the hub has not registered them, which may take a while: the newest ones."""
_PART = "node-"


def tag(step: int) -> str:
    return f"step-{step}"


def piece(rank: int, world: int) -> str:
    """The name of a rank's piece of a copy (`hub.training.copies`)."""
    return f"copy-{rank}-of-{world}.safetensors"


def pieces(node: int, nodes: int, each: int) -> list[str]:
    """The names of all pieces of a node's ranks, of which each node has so many."""
    return [piece(rank, nodes * each) for rank in range(node * each, (node + 1) * each)]


def seal(checkpoints: Path, step: int) -> Digest:
    """Make this node's files of a step durable and note their digest.

    Called by every rank of the node once all have written: the first does it, the others read what it noted.
    """
    with checkpoints.with_name(f"{checkpoints.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the file
        note = checkpoints / f"{tag(step)}.digest"
        return parse_digest(note.read_text()) if note.is_file() else _seal(checkpoints, step)


def _seal(checkpoints: Path, step: int) -> Digest:
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


def held(parts: Sequence[Path]) -> Iterator[int]:
    """The steps whose shards all machines still have as they were sealed, the newest first; each is read when it is asked for."""
    common = set.intersection(*map(steps, parts))
    return (step for step in sorted(common, reverse=True) if all(holds(part, step) for part in parts))


def parts(checkpoints: Path, machines: int) -> list[Path]:
    """Where the machines of a gang keep theirs that share a folder; the folder itself where there is but one (0)."""
    return [checkpoints / f"{_PART}{number}" for number in range(machines)] or [checkpoints]


def all_parts(checkpoints: Path) -> list[Path]:
    """The folder, and whatever parts it has by now."""
    return [checkpoints, *(path for path in checkpoints.glob(f"{_PART}*") if path.is_dir())]


def sealed(parts: Iterable[Path], step: int) -> Digest | None:
    """One digest over what all machines have sealed of a step; none before the last has."""
    hasher = Hasher()
    for part in parts:
        note = part / f"{tag(step)}.digest"
        if not note.is_file():
            return None
        hasher.update(f"{note.read_text()}\n".encode())
    return hasher.digest()


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
