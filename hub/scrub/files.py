"""The log's files against what its signed head proves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from hub.scrub.copies import Folder
from hub.scrub.findings import Damage, Kind
from hub.scrub.proven import Hashes, Proven
from trust.errors import Corrupt
from trust.merkle import leaf_hash
from trust.tiles import WIDTH, decode_bundle, entries_path, tile_path

Path = Callable[[int], str]
"""The path of a tile's file by its width."""
Fits = Callable[[bytes, Hashes, bool], bool]
"""Whether a file's content is what these hashes prove; with more behind it, or not."""


def damaged_bundle(own: Folder, proven: Proven, number: int) -> Iterator[Damage]:
    """What does not hold among the files of a bundle, of which there are several while it fills."""
    path = partial(entries_path, number)
    return _damaged("bundle", own, path, proven.width(0, number), proven.hashes(0, number), _bundle_fits)


def damaged_tile(own: Folder, proven: Proven, level: int, number: int) -> Iterator[Damage]:
    """What does not hold among the files of a hash tile."""
    path = partial(tile_path, level, number)
    return _damaged("tile", own, path, proven.width(level, number), proven.hashes(level, number), _tile_fits)


def _damaged(kind: Kind, own: Folder, path: Path, width: int, hashes: Hashes | None, fits: Fits) -> Iterator[Damage]:
    """Files that are wider than the tree is are of an append that goes on, and count as far as the tree does."""
    widths = own.widths(path)
    if width not in widths and WIDTH not in widths:
        widths = own.widths(path)  # it became full while we looked
    if width not in widths and WIDTH not in widths:
        yield Damage(kind, path(width), "is missing")
    for each in widths:
        if each > width and (each < WIDTH or width in widths):
            continue
        data = own.read(path(each))
        if data is None:
            if (own.directory / path(each)).exists():
                yield Damage(kind, path(each), "cannot be read from the disk")
        elif hashes is None or not fits(data, hashes[:each], each > width):
            yield Damage(kind, path(each), "was changed on the disk")


def _bundle_fits(data: bytes, hashes: Hashes, more: bool) -> bool:
    try:
        entries = decode_bundle(data, len(hashes) if more else None)
    except Corrupt:
        return False
    return tuple(map(leaf_hash, entries)) == hashes


def _tile_fits(data: bytes, hashes: Hashes, more: bool) -> bool:
    expected = b"".join(hashes)
    return data.startswith(expected) if more else data == expected
