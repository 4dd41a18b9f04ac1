"""The newest signed tree head on disk, in two files, so that no head can be seen and then be undone by a power cut.

`checkpoint` is what everyone reads, also through a web server that knows nothing of us: its rename is visible before it is
durable. So the note first goes into `.head`, written in place and flushed; at the start the larger of the two counts. A
torn `.head` has no valid signature, and then `checkpoint` is the newest that anybody can have seen. The rename itself
need not be flushed: `.head` has it.
"""

from __future__ import annotations

import os
from pathlib import Path

from hub.durable import write_all
from trust.errors import Corrupt, Problem
from trust.files import sync_folder
from trust.keys import LogPublicKey
from trust.notes import MAX_NOTE, TreeHead, verify_tree_head
from trust.tiles import RESTORE

CHECKPOINT = "checkpoint"
FIRST = ".head"
STAGED = ".checkpoint"


class Heads:
    """The head's files in the log's directory."""

    def __init__(self, directory: Path, key: LogPublicKey) -> None:
        self._directory, self._key = directory, key
        self._first = directory / FIRST

    def exists(self) -> bool:
        return self._first.exists() or (self._directory / CHECKPOINT).exists()

    def newest(self) -> tuple[bytes, TreeHead]:
        """The note that counts, and what it says. Raises `Corrupt` when neither file holds a head of this log."""
        found = [note for name in (CHECKPOINT, FIRST) if (note := self._read(self._directory / name))]
        if not found:
            raise Corrupt(f"The ledger in {self._directory} has no valid checkpoint.", RESTORE)
        return max(found, key=lambda note: note[1].size)

    def publish(self, note: bytes) -> None:
        """Durable first, then visible. The note must have been written durably to `STAGED` before. Raises OSError."""
        fresh = not self._first.exists()
        descriptor = os.open(self._first, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, note + b"\0")
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            sync_folder(self._directory)
        os.rename(self._directory / STAGED, self._directory / CHECKPOINT)

    def _read(self, path: Path) -> tuple[bytes, TreeHead] | None:
        try:
            with path.open("rb") as file:
                note = file.read(MAX_NOTE + 1).partition(b"\0")[0]
            return note, verify_tree_head(note, self._key, self._key.name)
        except (FileNotFoundError, Problem):
            return None
