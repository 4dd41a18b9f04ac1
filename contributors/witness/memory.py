"""What a witness must never forget: per log, the signed head that it cosigned last. And proof of what a log did wrong."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from trust.errors import Conflict
from trust.files import write_atomic
from trust.keys import LogPublicKey
from trust.notes import TreeHead, verify_tree_head

MAX_SUSPECTS = 1000


class Memory:
    """A folder. `held` makes check and persist one step, also between processes."""

    def __init__(self, folder: Path, logs: Mapping[str, LogPublicKey]) -> None:
        self.folder, self._logs = folder, logs
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else checks or persists meanwhile."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One running witness per home: two would push each other off the hub. Raises `Conflict`."""
        with (self.folder / "running").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(f"A witness runs already in {self.folder}.", "Stop it first.") from None
            yield

    def note(self, origin: str) -> bytes | None:
        """The signed note of the head that was cosigned last."""
        path = self._path(origin)
        return path.read_bytes() if path.exists() else None

    def latest(self, origin: str) -> TreeHead | None:
        """What that note says. Raises a Problem when it was changed: a witness that doubts its memory does not cosign."""
        note = self.note(origin)
        return None if note is None else verify_tree_head(note, self._logs[origin], origin)

    def remember(self, origin: str, note: bytes) -> None:
        """Durable when this returns; before that no cosignature may leave."""
        write_atomic(self._path(origin), note, mode=0o600)

    def keep_proof(self, data: bytes, *, proven: bool = True) -> Path | None:
        """A file of its own for every different proof; of what is not `proven`, only so many: anyone may show us old heads."""
        folder = self.folder / ("proofs" if proven else "suspects")
        folder.mkdir(exist_ok=True, mode=0o700)
        path = folder / f"{sha256(data).hexdigest()[:16]}.json"
        if not path.exists():
            if not proven and sum(1 for _ in folder.iterdir()) >= MAX_SUSPECTS:
                return None
            write_atomic(path, data)
        return path

    def _path(self, origin: str) -> Path:
        return self.folder / f"{sha256(origin.encode()).hexdigest()[:32]}.checkpoint"
