"""Copies of a log: the files in a folder (the hub's own, a mirror's), and the rows of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hub.scrub.proven import Hashes
from trust.tiles import WIDTH, entries_path, tile_path


class Folder:
    """Files in the C2SP layout. Of a tile that has grown there are several: the full one, and those of before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.size = 0  # bytes that were read

    def hashes(self, level: int, number: int, width: int) -> Hashes | None:
        for stored, data in self._widest_first(lambda width: tile_path(level, number, width), width):
            if len(data) == 32 * stored:
                return tuple(data[i : i + 32] for i in range(0, 32 * width, 32))
        return None

    def bundles(self, number: int) -> Iterator[list[bytes]]:
        for _, data in self._widest_first(lambda width: entries_path(number, width), 1):
            yield _readable(data)

    def widths(self, path: Callable[[int], str]) -> list[int]:
        """How wide the files of a tile are, the widest first."""
        full = self.directory / path(WIDTH)
        names = [each.name for each in full.with_name(f"{full.name}.p").glob("*")]
        partial = sorted((int(name) for name in names if name.isdecimal() and 0 < int(name) < WIDTH), reverse=True)
        return [WIDTH, *partial] if full.is_file() else partial

    def read(self, path: str) -> bytes | None:
        """None for what is not there, or what the disk does not give."""
        try:
            data = (self.directory / path).read_bytes()
        except OSError:
            return None
        self.size += len(data)
        return data

    def _widest_first(self, path: Callable[[int], str], least: int) -> Iterator[tuple[int, bytes]]:
        for width in self.widths(path):
            if width >= least and (data := self.read(path(width))) is not None:
                yield width, data


def _readable(data: bytes) -> list[bytes]:
    """The entries of a bundle up to where it is cut or a length makes no sense."""
    entries: list[bytes] = []
    position = 0
    while position < len(data) and len(entries) < WIDTH:
        stop = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if stop > len(data):
            break
        entries.append(data[position + 2 : stop])
        position = stop
    return entries


class Rows:
    """Entries as the database knows them: `leaves(start, stop)` are the leaves that its rows make."""

    def __init__(self, leaves: Callable[[int, int], Sequence[bytes]]) -> None:
        self._leaves = leaves

    def hashes(self, level: int, number: int, width: int) -> Hashes | None:
        return None

    def bundles(self, number: int) -> Iterator[list[bytes]]:
        yield list(self._leaves(number * WIDTH, (number + 1) * WIDTH))
