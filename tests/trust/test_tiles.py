"""Tiles: paths as C2SP writes them, and trees read back from files however they were cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import merkle, tiles
from trust.errors import Corrupt, Invalid, NotFound


class Files:
    """A log's files in memory."""

    def __init__(self, entries: list[bytes]) -> None:
        self.files: dict[str, bytes] = {}
        hashes = [merkle.leaf_hash(entry) for entry in entries]
        for level, number, width in tiles.tiles_for(len(entries)):
            span = 256**level
            first = number * 256 * span
            row = [merkle.root(hashes[first + i * span : first + (i + 1) * span]) for i in range(width)]
            self.files[tiles.tile_path(level, number, width)] = b"".join(row)
        for start in range(0, len(entries), 256):
            bundle = entries[start : start + 256]
            self.files[tiles.entries_path(start // 256, len(bundle))] = tiles.encode_bundle(bundle)

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise NotFound(path)
        return self.files[path]


def make(size: int) -> tuple[Files, tiles.TileReader, list[bytes]]:
    entries = [f"entry {i}".encode() for i in range(size)]
    files = Files(entries)
    return files, tiles.TileReader(files.read, size), entries


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (1, 255, 256, "tile/1/255"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (0, 1000, 17, "tile/0/x001/000.p/17"),
    ],
)
def test_paths_are_those_of_the_specification(level: int, number: int, width: int, path: str) -> None:
    assert tiles.tile_path(level, number, width) == path


def test_entry_bundles_have_their_own_path() -> None:
    assert tiles.entries_path(1234067) == "tile/entries/x001/x234/067"


@settings(max_examples=25)
@given(st.integers(1, 700), st.data())
def test_a_tree_is_read_back_from_its_files(size: int, data: st.DataObject) -> None:
    _, reader, entries = make(size)
    hashes = [merkle.leaf_hash(entry) for entry in entries]
    assert reader.root() == merkle.root(hashes)
    index = data.draw(st.integers(0, size - 1))
    assert reader.entry(index) == entries[index]
    merkle.verify_inclusion(index, size, hashes[index], reader.inclusion(index), reader.root())
    old = data.draw(st.integers(0, size))
    merkle.verify_consistency(old, size, merkle.root(hashes[:old]), reader.root(), reader.consistency(old))


def test_a_smaller_tree_is_read_from_wider_tiles_once_the_log_has_grown() -> None:
    files, _, entries = make(256)
    reader = tiles.TileReader(files.read, 100)
    assert reader.root() == merkle.root([merkle.leaf_hash(entry) for entry in entries[:100]])
    assert list(reader.entries(90, 100)) == entries[90:100]


def test_a_large_tree_has_the_tiles_of_the_specifications_example() -> None:
    """c2sp.org/tlog-tiles describes the tree of 70,000 entries, and the one of 256."""
    found = list(tiles.tiles_for(70_000))
    assert [level for level, _, width in found if width == 256] == [0] * 273 + [1]
    assert [tile for tile in found if tile[2] < 256] == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(tiles.tiles_for(256)) == [(0, 0, 256), (1, 0, 1)]


@pytest.mark.parametrize("path", [tiles.entries_path(0, 100), tiles.tile_path(0, 0, 100)])
def test_a_file_with_more_than_its_name_says_is_corrupt(path: str) -> None:
    files, reader, _ = make(100)
    files.files[path] += b"\0" * 32
    with pytest.raises(Corrupt):
        (list(reader.entries(0, 100)), reader.root())


def test_a_missing_or_short_file_is_corrupt() -> None:
    files, reader, _ = make(300)
    del files.files[tiles.entries_path(1, 44)]
    with pytest.raises(Corrupt, match="lacks"):
        reader.entry(299)
    files.files["tile/0/000"] = files.files["tile/0/000"][:-1]
    with pytest.raises(Corrupt):
        reader.inclusion(3)


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_bundles_survive_the_round_trip(entries: list[bytes]) -> None:
    assert tiles.decode_bundle(tiles.encode_bundle(entries)) == entries


def test_a_cut_bundle_and_an_entry_too_large_are_refused() -> None:
    with pytest.raises(Corrupt):
        tiles.decode_bundle(tiles.encode_bundle([b"abc"])[:-1])
    with pytest.raises(Corrupt):
        tiles.decode_bundle(tiles.encode_bundle([b"abc"]), 2)
    with pytest.raises(Invalid):
        tiles.encode_bundle([b"x" * 65_536])
