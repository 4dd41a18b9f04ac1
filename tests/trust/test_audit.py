"""Auditing a log from its files: every kind of dishonesty is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.trust.test_tiles import Files
from trust import merkle, tiles
from trust.audit import verify_log
from trust.errors import Corrupt, Denied, Problem
from trust.keys import LogKey
from trust.notes import TreeHead, sign_tree_head

KEY = LogKey.generate("europe")
SIZE = 300


class Source(Files):
    """A log of 300 entries with its signed head."""

    def __init__(self, entries: list[bytes]) -> None:
        super().__init__(entries)
        self.head = TreeHead("europe", len(entries), merkle.root([merkle.leaf_hash(entry) for entry in entries]))
        self.note = sign_tree_head(self.head, KEY)

    def read_tile(self, path: str) -> bytes:
        return self.read(path)

    def read_tree_head(self) -> bytes:
        return self.note


def entries(count: int = SIZE) -> list[bytes]:
    return [f"entry {i}".encode() for i in range(count)]


def test_an_honest_log_holds_and_extends_what_was_seen() -> None:
    audit = verify_log(Source(entries()), KEY.public, Source(entries(120)).head)
    assert audit.entries == tuple(entries())


def change(path: str, place: int) -> Callable[[Source], None]:
    def apply(source: Source) -> None:
        data = bytearray(source.files[path])
        data[place] ^= 1
        source.files[path] = bytes(data)

    return apply


@pytest.mark.parametrize(
    "path", [tiles.entries_path(0), tiles.entries_path(1, 44), "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]
)
@pytest.mark.parametrize("place", [2, 31])
def test_a_changed_byte_of_any_file_is_found(path: str, place: int) -> None:
    source = Source(entries())
    change(path, place)(source)
    with pytest.raises(Problem):
        verify_log(source, KEY.public)


def test_a_rewritten_log_is_found_by_who_saw_it_before() -> None:
    rewritten = [b"another past", *entries()[1:]]
    with pytest.raises(Corrupt, match="rewritten"):
        verify_log(Source(rewritten), KEY.public, Source(entries(120)).head)


def test_a_log_that_shrank_is_found() -> None:
    with pytest.raises(Corrupt, match="shrank"):
        verify_log(Source(entries(100)), KEY.public, Source(entries(120)).head)


def test_two_pasts_of_one_size_are_found() -> None:
    with pytest.raises(Corrupt, match="rewritten"):
        verify_log(Source([b"another past", *entries()[1:]]), KEY.public, Source(entries()).head)


def test_the_head_of_another_log_is_no_past_of_this_one() -> None:
    head = Source(entries(120)).head
    with pytest.raises(Corrupt, match="asia"):
        verify_log(Source(entries()), KEY.public, TreeHead("asia", head.size, head.root))


def test_an_empty_log_holds() -> None:
    assert verify_log(Source([]), KEY.public).entries == ()


@pytest.mark.parametrize("path", [tiles.entries_path(0), "tile/0/001.p/44", "tile/1/000.p/1"])
def test_a_missing_file_is_found(path: str) -> None:
    source = Source(entries())
    del source.files[path]
    with pytest.raises(Corrupt, match="lacks"):
        verify_log(source, KEY.public)


def test_another_key_is_refused() -> None:
    with pytest.raises(Denied):
        verify_log(Source(entries()), LogKey.generate("europe").public)


def test_a_head_that_its_own_log_signed_over_another_tree_is_found() -> None:
    source = Source(entries())
    source.note = sign_tree_head(TreeHead("europe", SIZE, merkle.leaf_hash(b"another tree")), KEY)
    with pytest.raises(Corrupt, match="add up"):
        verify_log(source, KEY.public)
