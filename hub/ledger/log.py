"""The append-only log on disk: C2SP tlog-tiles files and a signed checkpoint, which alone says how much of them counts.

Every append writes the entry bundle and hash tiles at the right edge, makes them durable, then replaces the checkpoint.
Files beyond the checkpoint's size (a crash came in between) are overwritten by the next append.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from trust.errors import NotFound
from trust.files import write_atomic
from trust.keys import LogKey
from trust.merkle import EMPTY_ROOT, leaf_hash
from trust.notes import TreeHead, sign_tree_head, verify_tree_head
from trust.tiles import WIDTH, TileReader, encode_bundle, entries_path, hash_tile, tile_path

CHECKPOINT = "checkpoint"


class Log:
    """One writer; any number of readers of the files."""

    def __init__(self, directory: Path, key: LogKey) -> None:
        self.directory = directory
        self._key = key
        self._bundles = 0  # full entry bundles
        self._bundle: list[bytes] = []  # entries of the bundle at the edge
        self._edge: list[list[bytes]] = []  # by level: hashes of the tile at the edge
        self._tiles: list[int] = []  # by level: full tiles
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / CHECKPOINT).exists():
            self._publish(TreeHead(key.name, 0, EMPTY_ROOT))
        self.reload()

    @property
    def vkey(self) -> str:
        """The public key that heads verify with, as C2SP writes it."""
        return self._key.public.encode()

    @property
    def size(self) -> int:
        return self.head.size

    def note(self) -> bytes:
        """The signed tree head, as everyone may have it."""
        return (self.directory / CHECKPOINT).read_bytes()

    def read(self, path: str) -> bytes:
        """A file of the layout. Raises `NotFound`."""
        try:
            return (self.directory / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFound(f"The ledger has no tile {path}.") from None

    def reader(self, head: TreeHead | None = None) -> TileReader:
        """Proofs and entries of the tree under `head`, by default the newest."""
        return TileReader(self.read, (head or self.head).size)

    def signed_head(self) -> tuple[bytes, TreeHead]:
        """The newest signed note and what it says, which belong together."""
        note = self.note()
        return note, verify_tree_head(note, self._key.public, self._key.name)

    def append(self, entries: Sequence[bytes]) -> TreeHead:
        """Add entries; durable, and covered by the new signed head, when this returns. After a failure nothing is added."""
        try:
            return self._append(entries)
        except BaseException:
            self.reload()
            raise

    def _append(self, entries: Sequence[bytes]) -> TreeHead:
        for entry in entries:
            self._bundle.append(entry)
            self._push(0, leaf_hash(entry))
            if len(self._bundle) == WIDTH:
                self._write_bundle()
                self._bundles += 1
                self._bundle = []
        if self._bundle:
            self._write_bundle()
        for level, hashes in enumerate(self._edge):
            if hashes:
                self._write_tile(level, self._tiles[level], hashes)
        size = self._bundles * WIDTH + len(self._bundle)
        head = TreeHead(self._key.name, size, TileReader(self.read, size).root())
        self._publish(head)
        self.head = head
        return head

    def _push(self, level: int, value: bytes) -> None:
        """Add a hash at a level; a full tile is written and its root goes one level up."""
        if level == len(self._edge):
            self._edge.append([])
            self._tiles.append(0)
        hashes = self._edge[level]
        hashes.append(value)
        if len(hashes) == WIDTH:
            self._write_tile(level, self._tiles[level], hashes)
            self._tiles[level] += 1
            self._edge[level] = []
            self._push(level + 1, hash_tile(hashes))

    def _write_tile(self, level: int, number: int, hashes: list[bytes]) -> None:
        self._write(tile_path(level, number, len(hashes)), b"".join(hashes))
        if len(hashes) == WIDTH:
            self._drop_partials(tile_path(level, number, WIDTH))

    def _write_bundle(self) -> None:
        self._write(entries_path(self._bundles, len(self._bundle)), encode_bundle(self._bundle))
        if len(self._bundle) == WIDTH:
            self._drop_partials(entries_path(self._bundles, WIDTH))

    def _write(self, path: str, data: bytes) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, data)

    def _drop_partials(self, full: str) -> None:
        shutil.rmtree(self.directory / f"{full}.p", ignore_errors=True)

    def _publish(self, head: TreeHead) -> None:
        write_atomic(self.directory / CHECKPOINT, sign_tree_head(head, self._key))

    def reload(self) -> None:
        """Go by the files: the checkpoint, and the incomplete tiles at the right edge of the tree that it names."""
        self.head = verify_tree_head(self.note(), self._key.public, self._key.name)
        self._bundles, rest = divmod(self.head.size, WIDTH)
        reader = self.reader()
        start = self._bundles * WIDTH
        self._bundle = list(reader.entries(start, start + rest)) if rest else []
        self._edge, self._tiles = [], []
        count, level = self.head.size, 0
        while count:
            full, rest = divmod(count, WIDTH)
            self._tiles.append(full)
            self._edge.append([reader.node(8 * level, full * WIDTH + i) for i in range(rest)])
            count, level = full, level + 1
