"""The append-only log on disk: C2SP tlog-tiles files and a signed checkpoint, which alone says how much of them counts.

An append writes the new bundles and tiles, makes them durable, then publishes the new head. Files beyond the head's
size (a crash came in between) are removed at the next start. Every file is checked against the signed head
when it is read; the right edge, which appends build on, when the log is opened.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.durable import write_files
from hub.fuse import Fuse
from hub.ledger.heads import Heads
from hub.ledger.leftovers import remove_beyond
from trust.edge import Edge
from trust.errors import Corrupt, Denied, Invalid, NotFound
from trust.files import write_atomic
from trust.keys import LogKey
from trust.merkle import EMPTY_ROOT
from trust.notes import TreeHead, claimed_head, sign_tree_head, verify_tree_head
from trust.tiles import RESTORE, Rows, TileReader, encode_bundle, parse_path

WITNESSED = "checkpoint.witnessed"
"""The newest tree head that a quorum of witnesses cosigned, with their cosignatures."""

_log = logging.getLogger(__name__)

REMEMBERED = 4096
"""Full tiles kept in memory: 64 MiB, enough for the proofs of a million entries."""

HeadListener = Callable[[bytes, TreeHead], None]


@dataclass(frozen=True)
class _State:
    """A signed head with all that belongs to it."""

    note: bytes
    head: TreeHead
    edge: Edge
    reader: TileReader


class Log:
    """One writer; any number of readers, each with the head that it started from.

    `confirm` is asked right before anything is published; it raises `Unavailable` where another process may write by now.
    """

    def __init__(
        self, directory: Path, key: LogKey, fuse: Fuse | None = None, confirm: Callable[[], None] = lambda: None
    ) -> None:
        self.directory, self._confirm = directory, confirm
        self._key = key
        self._fuse = fuse or Fuse()
        self._full = _Remembered(REMEMBERED)
        self._listeners: list[HeadListener] = []
        self._trusted = b""  # the witnessed head that was verified last
        directory.mkdir(parents=True, exist_ok=True)
        self._heads = Heads(directory, key.public)
        if not self._heads.exists():
            self._begin()
        self._state = self._stored()

    @property
    def vkey(self) -> str:
        """The public key that heads verify with, as C2SP writes it."""
        return self._key.public.encode()

    @property
    def head(self) -> TreeHead:
        return self._state.head

    @property
    def size(self) -> int:
        return self._state.head.size

    def note(self) -> bytes:
        """The signed tree head, as everyone may have it."""
        return self._state.note

    def signed_head(self) -> tuple[bytes, TreeHead]:
        """The newest signed note and what it says, which belong together."""
        return self._state.note, self._state.head

    def listen(self, callback: HeadListener) -> None:
        """Call `callback` with every new signed head once it is durable, in the appending thread."""
        self._listeners.append(callback)

    def witnessed(self) -> bytes | None:
        """The newest tree head that reached its quorum, with its cosignatures; none before the first, nor a damaged one."""
        try:
            note = self._file(WITNESSED)
            if note != self._trusted:
                verify_tree_head(note, self._key.public, self._key.name)
                self._trusted = note
        except NotFound:
            return None
        except (Corrupt, Denied, Invalid) as problem:
            _log.error("%s is damaged: %s", self.directory / WITNESSED, problem.what)
            return None
        return note

    def keep_witnessed(self, note: bytes) -> None:
        """Replace it, durably."""
        with self._fuse.guard("keeping cosignatures"):
            self._confirm()
            write_atomic(self.directory / WITNESSED, note)

    def head_over(self, index: int) -> tuple[bytes, TreeHead]:
        """The signed head to prove entry `index` under: the newest with a quorum of cosignatures, where that covers it."""
        state, witnessed = self._state, self.witnessed()
        if witnessed is not None:
            head = claimed_head(witnessed)
            if index < head.size <= state.head.size:
                return witnessed, head
        return state.note, state.head

    def read(self, path: str) -> bytes:
        """A file of the layout, verified. Raises `NotFound`, `Invalid` for no tile's path, `Corrupt`."""
        level, number, width = parse_path(path)
        reader = self._state.reader
        if level is None:
            return encode_bundle(reader.bundle(number, width))
        return reader.tile(level, number, width)

    def reader(self, head: TreeHead | None = None) -> TileReader:
        """Proofs and entries of the tree under `head`, by default the newest; verified against its root."""
        state = self._state
        if head is None or head == state.head:
            return state.reader
        return TileReader(self._file, head.size, head.root, self._full)

    def ahead(self, entries: Sequence[bytes]) -> TreeHead:
        """The head that appending these would make; nothing is written. Raises `Invalid` for an entry that is too long."""
        edge, _ = self._state.edge.grow(entries)
        return TreeHead(self._key.name, edge.size, edge.tree.root())

    def append(self, entries: Sequence[bytes]) -> TreeHead:
        """Add entries; durable, and covered by the new signed head, when this returns.

        Raises `Invalid` for an entry that is too long, and nothing is added. Raises `Unavailable` when the disk failed:
        nothing more is added until the log is opened again. So too where another process writes the log by now.
        """
        self._fuse.check()
        edge, files = self._state.edge.grow(entries)
        head = TreeHead(self._key.name, edge.size, edge.tree.root())
        with self._fuse.guard("writing the ledger"):
            note = self._publish(head, files)
        reader = TileReader(self._file, head.size, head.root, self._full, edge.tiles)
        self._state = _State(note, head, edge, reader)
        self._drop_partials(files)
        for listener in self._listeners:
            listener(note, head)
        return head

    def refresh(self) -> bool:
        """See what another process published; whether that is anything new. Raises `Corrupt`."""
        if self._heads.newest()[1].size <= self.size:
            return False
        self.reload()
        return True

    def reload(self) -> None:
        """Go by the files again, as at the opening. Raises `Corrupt` where they do not fit together."""
        self._state = self._stored()

    def _stored(self) -> _State:
        """The checkpoint, and the tree that it names."""
        note, head = self._heads.newest()
        reader = TileReader(self._file, head.size, head.root, self._full)
        return _State(note, head, Edge.read(reader), reader)

    def sweep(self) -> None:
        """At start-up, or taking the lead: nobody who led before publishes any more; show the head that counts, and drop what
        an append that was cut short left beyond it."""
        self._heads.take_over()
        self.reload()
        write_files(self.directory, {self._heads.staged: self.note()})
        self._heads.publish(self.note())
        remove_beyond(self.directory, self.size)

    def _begin(self) -> None:
        """Sign the empty tree, once: over a log that has entries that would be a fork."""
        if (self.directory / "tile").exists():
            raise Corrupt(f"The ledger in {self.directory} has lost its checkpoint.", RESTORE)
        note = sign_tree_head(TreeHead(self._key.name, 0, EMPTY_ROOT), self._key)
        write_files(self.directory, {self._heads.staged: note})
        self._heads.publish(note)

    def _file(self, path: str) -> bytes:
        try:
            return (self.directory / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"The ledger has no tile {path}.") from None

    def _publish(self, head: TreeHead, files: Mapping[str, bytes]) -> bytes:
        """Sign a head and show it once it and its files are durable."""
        note = sign_tree_head(head, self._key)
        write_files(self.directory, {**files, self._heads.staged: note})
        self._confirm()
        self._heads.publish(note)
        return note

    def _drop_partials(self, files: Iterable[str]) -> None:
        """Of tiles that are full now, and durably so; a smaller tree is read from the full ones."""
        for path in files:
            if ".p/" not in path:
                shutil.rmtree(self.directory / f"{path}.p", ignore_errors=True)


class _Remembered(OrderedDict[tuple[int, int], Rows]):
    """What full tiles hold; the oldest is forgotten first."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit, self._lock = limit, threading.Lock()

    def __setitem__(self, key: tuple[int, int], rows: Rows) -> None:
        with self._lock:
            super().__setitem__(key, rows)
            if len(self) > self._limit:
                self.popitem(last=False)
