"""The files of a tiled log (c2sp.org/tlog-tiles): hash tiles of up to 256 hashes, and bundles of up to 256 entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping, Sequence

from trust import merkle
from trust.errors import Corrupt, Invalid, NotFound

WIDTH = 256
LEVELS = 8  # tree levels in one tile
MAX_ENTRY = 0xFFFF
_PATH = re.compile(r"tile/([0-9]|[1-5][0-9]|6[0-3]|entries)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")

ReadFile = Callable[[str], bytes]
"""The content of a file of the log by its path; raises `NotFound`."""

Rows = tuple[bytes, ...]
"""The hashes of a tile, and above them those of the complete subtrees inside it: see `merkle.subtree_rows`."""

FullTiles = MutableMapping[tuple[int, int], Rows]
"""(level, number) -> what a full tile holds."""

RESTORE = "Restore it from a mirror: coalition-hub scrub DIR --restore-from MIRROR."


def tile_path(level: int, number: int, width: int = WIDTH) -> str:
    return f"tile/{level}/{_number(number)}{_partial(width)}"


def entries_path(number: int, width: int = WIDTH) -> str:
    return f"tile/entries/{_number(number)}{_partial(width)}"


def parse_path(path: str) -> tuple[int | None, int, int]:
    """(level, number, width) of a tile; the level of an entry bundle is None. Raises `Invalid` for any other spelling."""
    match = _PATH.fullmatch(path)
    if not match:
        raise Invalid(f"{path[:80]!r} is not a tile's path.", field="path")
    level = None if match[1] == "entries" else int(match[1])
    number, width = int(match[2].replace("x", "").replace("/", "")), int(match[3] or WIDTH)
    if width > WIDTH or path != (entries_path(number, width) if level is None else tile_path(level, number, width)):
        raise Invalid(f"{path[:80]!r} is not a tile's path.", field="path")
    return level, number, width


def _number(number: int) -> str:
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)


def _partial(width: int) -> str:
    if not 1 <= width <= WIDTH:
        raise Invalid(f"A tile cannot be {width} wide.")
    return "" if width == WIDTH else f".p/{width}"


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries one after the other, each behind its length in two bytes, big-endian."""
    if large := [len(entry) for entry in entries if len(entry) > MAX_ENTRY]:
        raise Invalid(f"A ledger entry has {large[0]} bytes; {MAX_ENTRY} are allowed.")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, count: int | None = None) -> list[bytes]:
    """Raises `Corrupt` for a cut bundle, or one with fewer than `count` entries; further ones are left out."""
    entries: list[bytes] = []
    position = 0
    while position < len(data) and (count is None or len(entries) < count):
        stop = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if stop > len(data):
            raise Corrupt("An entry bundle of the ledger is cut short.")
        entries.append(data[position + 2 : stop])
        position = stop
    if count is not None and len(entries) < count:
        raise Corrupt(f"An entry bundle of the ledger holds {len(entries)} entries instead of {count}.")
    return entries


def hash_tile(hashes: Sequence[bytes]) -> bytes:
    """The root of a full tile: the hash that it is one level up."""
    if len(hashes) != WIDTH:
        raise Invalid("Only a full tile has a hash of its own.")
    return merkle.root(hashes)


def tiles_for(size: int) -> Iterator[tuple[int, int, int]]:
    """(level, number, width) of every hash tile of a tree."""
    level = 0
    while size:
        full, rest = divmod(size, WIDTH)
        for number in range(full):
            yield level, number, WIDTH
        if rest:
            yield level, full, rest
        size, level = full, level + 1


class TileReader:
    """A tree of `size` entries, read from its files and remembered; missing partial tiles are found in wider ones.

    With `root`, nothing is believed: the tiles at the right edge must lead to it, every full tile must hash to what the
    tile above it says, every entry to its leaf. Full tiles never change, so readers of several sizes of one tree may share
    what they know of them in `full`; who has the tree's edge already gives it. Whatever does not fit raises `Corrupt`.
    """

    def __init__(
        self,
        read: ReadFile,
        size: int,
        root: bytes | None = None,
        full: FullTiles | None = None,
        edge: Sequence[Sequence[bytes]] | None = None,
    ) -> None:
        self._read, self.size, self._root = read, size, root
        self._full: FullTiles = {} if full is None else full
        self._edge: dict[int, Rows] = {}
        self._known_edge = edge
        self._ranges: dict[tuple[int, int], bytes] = {}
        if root is not None and edge is None:
            self._check_edge(root)

    def node(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree of 2^level leaves with this number."""
        tile_level, inner = divmod(level, LEVELS)
        number, offset = divmod(index, WIDTH >> inner)
        return self._rows(tile_level, number)[inner][32 * offset : 32 * offset + 32]

    def leaf_hash(self, index: int) -> bytes:
        return self.node(0, index)

    def tile(self, level: int, number: int, width: int) -> bytes:
        """The hashes in a tile of this tree, or in the narrower tile that an earlier tree had there. Raises `NotFound`."""
        if not 1 <= width <= self._width(level, number):
            raise NotFound(f"A ledger of {self.size} entries has no {tile_path(level, number, width)}.")
        return self._rows(level, number)[0][: 32 * width]

    def bundle(self, number: int, width: int) -> list[bytes]:
        """The entries in a bundle of this tree, or in the narrower one that an earlier tree had. Raises `NotFound`."""
        if not 1 <= width <= self._width(0, number):
            raise NotFound(f"A ledger of {self.size} entries has no {entries_path(number, width)}.")
        return self._bundle(number)[:width]

    def entry(self, index: int) -> bytes:
        return next(self.entries(index, index + 1))

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Entries [start, stop) in order."""
        if not 0 <= start <= stop <= self.size:
            raise Invalid(f"A ledger of {self.size} entries has none from {start} to {stop}.")
        while start < stop:
            number, offset = divmod(start, WIDTH)
            yield from self._bundle(number)[offset : stop - number * WIDTH]
            start = (number + 1) * WIDTH

    def root(self) -> bytes:
        return merkle.tree_root(self.size, self.node)

    def inclusion(self, index: int) -> list[bytes]:
        return merkle.inclusion_proof(index, self.size, self.node, self._ranges)

    def consistency(self, old: int) -> list[bytes]:
        return merkle.consistency_proof(old, self.size, self.node, self._ranges)

    def _width(self, level: int, number: int) -> int:
        """How many hashes the tile has in this tree."""
        return max(0, min(WIDTH, (self.size >> (LEVELS * level)) - number * WIDTH))

    def _rows(self, level: int, number: int) -> Rows:
        width = self._width(level, number)
        if width < WIDTH:
            if level not in self._edge:
                known = self._known_edge
                self._edge[level] = (
                    self._stored(level, number, width) if known is None else merkle.subtree_rows(known[level])
                )
            return self._edge[level]
        rows = self._full.get((level, number))
        if rows is None:
            rows = self._stored(level, number, width)
            if self._root is not None and rows[LEVELS] != self.node(LEVELS * (level + 1), number):
                raise Corrupt(f"The ledger's {tile_path(level, number)} was changed.", RESTORE)
            self._full[level, number] = rows
        return rows

    def _stored(self, level: int, number: int, width: int) -> Rows:
        data = self._file(lambda width: tile_path(level, number, width), width)
        if len(data) not in (32 * width, 32 * WIDTH):
            raise Corrupt(f"The ledger's tile {tile_path(level, number, width)} has {len(data)} bytes.", RESTORE)
        return merkle.subtree_rows([data[i : i + 32] for i in range(0, 32 * width, 32)])

    def _bundle(self, number: int) -> list[bytes]:
        width = self._width(0, number)
        entries = decode_bundle(self._file(lambda width: entries_path(number, width), width))
        if len(entries) not in (width, WIDTH):
            raise Corrupt(f"The ledger's {entries_path(number, width)} holds {len(entries)} entries.", RESTORE)
        del entries[width:]
        if self._root is not None and b"".join(map(merkle.leaf_hash, entries)) != self._rows(0, number)[0]:
            raise Corrupt(f"The ledger's {entries_path(number, width)} was changed.", RESTORE)
        return entries

    def _check_edge(self, root: bytes) -> None:
        """The incomplete tiles at the right edge hold the roots of the tree's maximal subtrees, which make its root."""
        peaks: tuple[bytes, ...] = ()
        for hashes in self.edge():
            peaks = merkle.CompactRange().extend(hashes).hashes + peaks
        if merkle.CompactRange(self.size, peaks).root() != root:
            raise Corrupt("The tiles of the ledger do not lead to its signed tree head.", RESTORE)

    def edge(self) -> list[list[bytes]]:
        """By level, the hashes of the incomplete tile at the tree's right edge; empty where that tile is full."""
        found: list[list[bytes]] = []
        level = 0
        while count := self.size >> (LEVELS * level):
            width = count % WIDTH
            row = self._rows(level, count // WIDTH)[0] if width else b""
            found.append([row[i : i + 32] for i in range(0, 32 * width, 32)])
            level += 1
        return found

    def _file(self, path: Callable[[int], str], width: int) -> bytes:
        """A tile as wide as this tree needs; the full one replaces it once the log has grown."""
        try:
            return self._read(path(width))
        except NotFound:
            if width == WIDTH:
                raise Corrupt(f"The ledger lacks {path(width)}.", RESTORE) from None
        try:
            return self._read(path(WIDTH))
        except NotFound:
            raise Corrupt(f"The ledger lacks {path(width)}.", RESTORE) from None
