"""The newest signed tree head on disk, in two files, so that no head can be seen and then be undone by a power cut.

`checkpoint` is what everyone reads, also through a web server that knows nothing of us: its rename is visible before it is
durable. So the note first goes into `.head`, written in place and flushed; at the start the larger of the two counts. A
torn `.head` has no valid signature, and then `checkpoint` is the newest that anybody can have seen. The rename itself
need not be flushed: `.head` has it.

Of several processes one leads, and one that was stopped may wake up in the middle of publishing. Each stages its note under
a name of its own, and asks whether it still leads between staging and renaming. Who takes over removes what others staged:
whoever asked before that finds nothing to rename. If it had come as far as `.head`, that holds a head that is in the shared
database too, and that the new leader published before any of its own.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from hub.durable import write_all
from trust.errors import Corrupt, Problem
from trust.files import sync_folder
from trust.keys import LogPublicKey
from trust.notes import MAX_NOTE, TreeHead, claimed_head, verify_tree_head
from trust.tiles import RESTORE

CHECKPOINT = "checkpoint"
FIRST = ".head"
_STAGED = ".checkpoint"


class Heads:
    """The head's files in the log's directory. `staged` is where this process writes a note before it publishes it."""

    def __init__(self, directory: Path, key: LogPublicKey) -> None:
        self._directory, self._key = directory, key
        self._first = directory / FIRST
        self.staged = f"{_STAGED}.{secrets.token_hex(8)}"

    def exists(self) -> bool:
        return self._first.exists() or (self._directory / CHECKPOINT).exists()

    def newest(self) -> tuple[bytes, TreeHead]:
        """The note that counts, and what it says. Raises `Corrupt` when neither file holds a head of this log."""
        found = self._found()
        if not found:
            raise Corrupt(f"The ledger in {self._directory} has no valid checkpoint.", RESTORE)
        return max(found, key=lambda note: note[1].size)

    def take_over(self) -> None:
        """What another process has staged until now is not published any more, and what a crash left is gone."""
        for path in self._directory.glob(f"{_STAGED}*"):
            if path.name != self.staged:
                path.unlink(missing_ok=True)

    def publish(self, note: bytes) -> None:
        """Durable first, then visible. The note must have been written durably to `staged` before.

        Raises OSError: ESTALE where another process took over, or published a larger head.
        """
        staged, size = self._directory / self.staged, claimed_head(note).size
        if any(head.size > size for _, head in self._found()):
            raise OSError(errno.ESTALE, "another process has published a larger head")
        if not staged.exists():
            raise OSError(errno.ESTALE, "another process has taken over the ledger")
        fresh = not self._first.exists()
        descriptor = os.open(self._first, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, note + b"\0")
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if fresh:
            sync_folder(self._directory)
        os.rename(staged, self._directory / CHECKPOINT)

    def _found(self) -> list[tuple[bytes, TreeHead]]:
        return [note for name in (CHECKPOINT, FIRST) if (note := self._read(self._directory / name))]

    def _read(self, path: Path) -> tuple[bytes, TreeHead] | None:
        try:
            with path.open("rb") as file:
                note = file.read(MAX_NOTE + 1).partition(b"\0")[0]
            return note, verify_tree_head(note, self._key, self._key.name)
        except (FileNotFoundError, Problem):
            return None
