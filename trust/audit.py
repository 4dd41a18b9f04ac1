"""Checking a whole log from its files: nothing that the hub says about itself is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trust import merkle
from trust.errors import Corrupt
from trust.keys import LogPublicKey
from trust.notes import TreeHead, verify_tree_head
from trust.tiles import TileReader, tile_path, tiles_for


class LedgerSource(Protocol):
    """Where the files come from: a hub over the wire, or a directory."""

    def read_tile(self, path: str) -> bytes:
        """A file of the layout. Raises `NotFound`."""

    def read_tree_head(self) -> bytes:
        """The newest signed note."""


@dataclass(frozen=True)
class Audit:
    """A log that holds: its head, and the bytes of every entry in order."""

    head: TreeHead
    note: bytes
    entries: tuple[bytes, ...]


def verify_log(source: LedgerSource, key: LogPublicKey, known: TreeHead | None = None) -> Audit:
    """Recompute the tree from its entries and compare it with the signed head, the hash tiles and the head seen before.

    Raises `Denied` for a wrong signature, `Corrupt` for anything that does not fit together.
    """
    note = source.read_tree_head()
    head = verify_tree_head(note, key, key.name)
    reader = TileReader(source.read_tile, head.size)
    entries = tuple(reader.entries(0, head.size))
    hashes = [merkle.leaf_hash(entry) for entry in entries]
    if merkle.root(hashes) != head.root:
        raise Corrupt("The ledger's entries do not add up to its signed tree head.")
    _check_tiles(source, head.size, hashes)
    if known is not None:
        _check_extends(known, head, hashes)
    return Audit(head, note, entries)


def _check_tiles(source: LedgerSource, size: int, hashes: list[bytes]) -> None:
    """The stored hash tiles, which proofs are made from, say the same as the entries."""
    rows = [hashes]
    reader = TileReader(source.read_tile, size)
    for level, number, width in tiles_for(size):
        while len(rows) <= level:
            below = rows[-1]
            rows.append([merkle.root(below[i : i + 256]) for i in range(0, len(below) - 255, 256)])
        expected = rows[level][number * 256 : number * 256 + width]
        stored = [reader.node(8 * level, number * 256 + i) for i in range(width)]
        if stored != expected:
            raise Corrupt(f"The ledger's {tile_path(level, number, width)} does not match its entries.")


def _check_extends(known: TreeHead, head: TreeHead, hashes: list[bytes]) -> None:
    if head.origin != known.origin:
        raise Corrupt(f"The ledger is {head.origin!r}; the tree head that was seen before is of {known.origin!r}.")
    if head.size < known.size:
        raise Corrupt(f"The ledger shrank from {known.size} to {head.size} entries.")
    if merkle.root(hashes[: known.size]) != known.root:
        raise Corrupt("The ledger was rewritten: it does not extend the tree head that was seen before.")
