"""How a tiled log grows: a pure function from the right edge of its tree and new entries to the files that are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from trust.errors import Corrupt
from trust.merkle import CompactRange, leaf_hash
from trust.tiles import LEVELS, RESTORE, WIDTH, TileReader, encode_bundle, entries_path, tile_path


@dataclass(frozen=True)
class Edge:
    """All of a tree that an append needs: `bundle` holds the entries, and `tiles` by level the hashes, that fill no file yet."""

    tree: CompactRange
    bundle: tuple[bytes, ...]
    tiles: tuple[tuple[bytes, ...], ...]

    @property
    def size(self) -> int:
        return self.tree.size

    @classmethod
    def read(cls, reader: TileReader) -> Self:
        """The edge of the tree under `reader`. Raises `Corrupt` when its last entries are not those of its tiles."""
        tiles = tuple(tuple(hashes) for hashes in reader.edge())
        peaks: tuple[bytes, ...] = ()
        for hashes in tiles:
            peaks = CompactRange().extend(hashes).hashes + peaks
        start = reader.size - reader.size % WIDTH
        bundle = tuple(reader.entries(start, reader.size))
        if tiles and tuple(map(leaf_hash, bundle)) != tiles[0]:
            raise Corrupt("The newest entries of the ledger are not those of its tiles.", RESTORE)
        return cls(CompactRange(reader.size, peaks), bundle, tiles)

    def grow(self, entries: Sequence[bytes]) -> tuple[Edge, dict[str, bytes]]:
        """The edge after these entries, and the content of every file that is new, by its path.

        Raises `Invalid` for an entry that is too long.
        """
        bundle, bundles = _cut([*self.bundle, *entries], self.size // WIDTH)
        tiles = _Tiles(self)
        edge = Edge(self.tree.extend(map(leaf_hash, entries), tiles.add), bundle, tiles.rest())
        return edge, bundles | tiles.files()


class _Tiles:
    """The hash tiles while entries come in."""

    def __init__(self, edge: Edge) -> None:
        self._before = edge.size
        self._hashes = [list(hashes) for hashes in edge.tiles]  # by level: of the tile at the edge and all after it
        self._grown: set[int] = set()

    def add(self, level: int, value: bytes) -> None:
        level, inner = divmod(level, LEVELS)
        if not inner:
            if level == len(self._hashes):
                self._hashes.append([])
            self._hashes[level].append(value)
            self._grown.add(level)

    def rest(self) -> tuple[tuple[bytes, ...], ...]:
        return tuple(tuple(hashes[len(hashes) - len(hashes) % WIDTH :]) for hashes in self._hashes)

    def files(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for level in sorted(self._grown):
            hashes, first = self._hashes[level], self._before >> (LEVELS * (level + 1))
            for start in range(0, len(hashes), WIDTH):
                tile = hashes[start : start + WIDTH]
                found[tile_path(level, first + start // WIDTH, len(tile))] = b"".join(tile)
        return found


def _cut(entries: list[bytes], first: int) -> tuple[tuple[bytes, ...], dict[str, bytes]]:
    """Entries that fill no bundle, and the files of all bundles from number `first` on."""
    files: dict[str, bytes] = {}
    for start in range(0, len(entries), WIDTH):
        bundle = entries[start : start + WIDTH]
        files[entries_path(first + start // WIDTH, len(bundle))] = encode_bundle(bundle)
    return tuple(entries[len(entries) - len(entries) % WIDTH :]), files
