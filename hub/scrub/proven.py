"""A log's tree pieced together from several copies of its files, of which any may be damaged: what the signed head proves counts.

From the top: the incomplete tiles at the right edge must lead to the root; a full tile must hash to what the tile above it says,
an entry to its leaf. A tile that no copy has right is made again from what lies below it (RFC 6962, section 2.1).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

from trust import merkle
from trust.errors import NotFound
from trust.tiles import LEVELS, WIDTH, encode_bundle, hash_tile, parse_path

REMEMBERED = 1024
"""Full tiles that are kept in memory: 8 MiB."""
TRIES = 4096
"""Combinations of edge tiles, of several levels and copies, that are tried for the root."""

Hashes = tuple[bytes, ...]


class Copy(Protocol):
    """Files of the log as somebody has them; nothing of it is believed."""

    def hashes(self, level: int, number: int, width: int) -> Hashes | None:
        """The first `width` hashes of a tile; None where there are fewer."""

    def bundles(self, number: int) -> Iterator[list[bytes]]:
        """What there is of a bundle: entries from its beginning, as many as can be read."""


class Proven:
    """The tree of `size` entries under `root`; what is None or missing, no copy has."""

    def __init__(self, size: int, root: bytes, copies: Sequence[Copy]) -> None:
        self.size, self.root, self._copies = size, root, copies
        self._full: OrderedDict[tuple[int, int], Hashes] = OrderedDict()
        self._edge = self._find_edge()

    @property
    def holds(self) -> bool:
        """Whether anything is proven: the edge leads to the root."""
        return self._edge is not None

    def width(self, level: int, number: int) -> int:
        """Hashes that the tile has in this tree."""
        return max(0, min(WIDTH, (self.size >> (LEVELS * level)) - number * WIDTH))

    def hashes(self, level: int, number: int) -> Hashes | None:
        """What the tile holds."""
        if self._edge is None:
            return None
        if self.width(level, number) < WIDTH:
            return self._edge[level]
        if (level, number) not in self._full:
            above = self.hashes(level + 1, number // WIDTH)
            if above is None:
                return None
            expected = above[number % WIDTH]
            found = next((each for each in self._candidates(level, number) if hash_tile(each) == expected), None)
            if found is None:
                return None
            self._full[level, number] = found
            if len(self._full) > REMEMBERED:
                self._full.popitem(last=False)
        return self._full[level, number]

    def entries(self, number: int) -> list[bytes | None]:
        """The entries of a bundle, each from whichever copy has it right."""
        hashes = self.hashes(0, number)
        if hashes is None:
            return [None] * self.width(0, number)
        found: list[bytes | None] = [None] * len(hashes)
        for bundle in itertools.chain.from_iterable(copy.bundles(number) for copy in self._copies):
            for index, entry in enumerate(bundle[: len(hashes)]):
                if found[index] is None and merkle.leaf_hash(entry) == hashes[index]:
                    found[index] = entry
            if None not in found:
                break
        return found

    def file(self, path: str) -> bytes:
        """What a file of the layout holds in this tree, or held in an earlier one. Raises `NotFound` for what is not proven."""
        level, number, width = parse_path(path)
        if width <= self.width(level or 0, number):
            if level is None:
                entries = [entry for entry in self.entries(number)[:width] if entry is not None]
                if len(entries) == width:
                    return encode_bundle(entries)
            elif (hashes := self.hashes(level, number)) is not None:
                return b"".join(hashes[:width])
        raise NotFound(f"No copy of the ledger has {path} as its head proves it.")

    def _candidates(self, level: int, number: int) -> Iterator[Hashes]:
        """What the copies say of a tile, then what their entries make of it."""
        yield from self._stored(level, number)
        yield from self._made(level, number)

    def _stored(self, level: int, number: int) -> Iterator[Hashes]:
        width = self.width(level, number)
        return (hashes for copy in self._copies if (hashes := copy.hashes(level, number, width)))

    def _made(self, level: int, number: int) -> Iterator[Hashes]:
        width = self.width(level, number)
        return (hashes for copy in self._copies if (hashes := _made_by(copy, level, number, width)))

    def _find_edge(self) -> dict[int, Hashes] | None:
        """By level, the incomplete tile at the right edge; empty where that tile is full."""
        options = {level: dict.fromkeys(self._stored(level, number)) for level, number in self._edge_tiles()}
        edge = self._fitting(options)
        for level, number in self._edge_tiles():
            if edge is not None:
                break
            options[level] |= dict.fromkeys(self._made(level, number))  # the higher, the more has to be read
            edge = self._fitting(options)
        return edge

    def _edge_tiles(self) -> Iterator[tuple[int, int]]:
        for level in range(64 // LEVELS):
            if count := self.size >> (LEVELS * level):
                yield level, count // WIDTH

    def _fitting(self, options: dict[int, dict[Hashes, None]]) -> dict[int, Hashes] | None:
        """The first choice of one tile for each level that leads to the root."""
        full = {level for level, number in self._edge_tiles() if not self.width(level, number)}
        choices = itertools.product(*(((),) if level in full else options[level] for level in options))
        for edge in itertools.islice(choices, TRIES):
            if _leads_to(edge, self.size) == self.root:
                return dict(zip(options, edge, strict=True))
        return None


def _leads_to(edge: Sequence[Hashes], size: int) -> bytes:
    """The root above the tiles at the edge, from the lowest level up: they hold the roots of the tree's maximal subtrees."""
    peaks: Hashes = ()
    for hashes in edge:
        peaks = merkle.CompactRange().extend(hashes).hashes + peaks
    return merkle.CompactRange(size, peaks).root()


def _made_by(copy: Copy, level: int, number: int, width: int) -> Hashes | None:
    """A tile as a copy's entries make it: all those that lie below it, 256 to the power of `level` + 1, are read."""
    if level == 0:
        bundle = next((found for found in copy.bundles(number) if len(found) >= width), None)
        return tuple(map(merkle.leaf_hash, bundle[:width])) if bundle is not None else None
    found: list[bytes] = []
    for below in range(number * WIDTH, number * WIDTH + width):
        hashes = _made_by(copy, level - 1, below, WIDTH)
        if hashes is None:
            return None
        found.append(hash_tile(hashes))
    return tuple(found)
