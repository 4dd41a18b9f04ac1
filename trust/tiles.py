"""The files of a tiled log (c2sp.org/tlog-tiles): hash tiles of up to 256 hashes, and bundles of up to 256 entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from trust import merkle
from trust.errors import Corrupt, Invalid, NotFound

WIDTH = 256
LEVELS = 8  # tree levels in one tile
MAX_ENTRY = 0xFFFF

ReadFile = Callable[[str], bytes]
"""The content of a file of the log by its path; raises `NotFound`."""


def tile_path(level: int, number: int, width: int = WIDTH) -> str:
    return f"tile/{level}/{_number(number)}{_partial(width)}"


def entries_path(number: int, width: int = WIDTH) -> str:
    return f"tile/entries/{_number(number)}{_partial(width)}"


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
    """A tree of `size` entries, read from its files and remembered; missing partial tiles are found in wider ones."""

    def __init__(self, read: ReadFile, size: int) -> None:
        self._read, self.size = read, size
        self._tiles: dict[tuple[int, int], bytes] = {}

    def node(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree of 2^level leaves with this number."""
        tile_level, inner = divmod(level, LEVELS)
        first = index << inner
        number, offset = divmod(first, WIDTH)
        tile = self._tile(tile_level, number)
        hashes = [tile[32 * i : 32 * i + 32] for i in range(offset, offset + (1 << inner))]
        if len(hashes[-1]) != 32:
            raise Corrupt(f"The ledger's tile {tile_path(tile_level, number)} is too short.")
        return merkle.root(hashes)

    def leaf_hash(self, index: int) -> bytes:
        return self.node(0, index)

    def entry(self, index: int) -> bytes:
        return next(self.entries(index, index + 1))

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Entries [start, stop) in order."""
        if not 0 <= start <= stop <= self.size:
            raise Invalid(f"A ledger of {self.size} entries has none from {start} to {stop}.")
        while start < stop:
            number, offset = divmod(start, WIDTH)
            width = min(WIDTH, self.size - number * WIDTH)
            end = min(stop - number * WIDTH, width)
            data = self._file(lambda width, n=number: entries_path(n, width), width)  # type: ignore[misc]
            entries = decode_bundle(data)
            if len(entries) not in (width, WIDTH):
                raise Corrupt(f"The ledger's {entries_path(number, width)} holds {len(entries)} entries.")
            yield from entries[offset:end]
            start = number * WIDTH + end

    def root(self) -> bytes:
        return merkle.tree_root(self.size, self.node)

    def inclusion(self, index: int) -> list[bytes]:
        return merkle.inclusion_proof(index, self.size, self.node)

    def consistency(self, old: int) -> list[bytes]:
        return merkle.consistency_proof(old, self.size, self.node)

    def _tile(self, level: int, number: int) -> bytes:
        if (level, number) not in self._tiles:
            width = min(WIDTH, (self.size >> (LEVELS * level)) - number * WIDTH)
            data = self._file(lambda width: tile_path(level, number, width), width)
            if len(data) not in (32 * width, 32 * WIDTH):
                raise Corrupt(f"The ledger's tile {tile_path(level, number, width)} has {len(data)} bytes.")
            self._tiles[level, number] = data
        return self._tiles[level, number]

    def _file(self, path: Callable[[int], str], width: int) -> bytes:
        """A tile as wide as this tree needs; the full one replaces it once the log has grown."""
        try:
            return self._read(path(width))
        except NotFound:
            if width == WIDTH:
                raise Corrupt(f"The ledger lacks {path(width)}.") from None
        try:
            return self._read(path(WIDTH))
        except NotFound:
            raise Corrupt(f"The ledger lacks {path(width)}.") from None
