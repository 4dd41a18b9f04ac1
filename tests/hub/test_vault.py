"""Sealed blobs: what goes in comes out, and nothing of it lies on the disk; changed, moved or without the key it is refused."""

from __future__ import annotations

import itertools
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.blobs import BlobStore
from hub.vault import CHUNK, HEADER, SALT, TAG
from trust.digests import Digest, digest_bytes, hex_of
from trust.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable

BODY = b"".join(f"A heart that is too large, number {i}.\n".encode() for i in range(8000))


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", None, tmp_path / "seal.key")


def seal(blobs: BlobStore, body: bytes, piece: int = 50_000) -> Digest:
    digest = digest_bytes(body)
    with blobs.vault.incoming(digest, len(body), 0) as incoming:
        for start in range(0, len(body), piece):
            incoming.write(body[start : start + piece])
        assert incoming.finish()
    return digest


def sealed_file(blobs: BlobStore, digest: Digest) -> Path:
    return blobs.vault.place(digest)


def test_every_way_of_reading_gives_the_plain_bytes(blobs: BlobStore) -> None:
    digest = seal(blobs, BODY)
    assert blobs.has(digest)
    assert blobs.sealed(digest)
    assert blobs.size(digest) == len(BODY)
    assert blobs.read(digest) == BODY
    assert b"".join(blobs.chunks(digest, 70_001)) == BODY[70_001:]
    assert blobs.check(digest)
    assert blobs.path(digest).read_bytes() == BODY


def test_nothing_of_it_lies_on_the_disk(blobs: BlobStore, tmp_path: Path) -> None:
    digest = seal(blobs, BODY)
    opened = blobs.path(digest)
    assert not opened.is_relative_to(tmp_path)
    assert stat.S_IMODE(opened.stat().st_mode) == 0o600
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"too large" in path.read_bytes() for path in files)
    assert stat.S_IMODE((tmp_path / "seal.key").stat().st_mode) == 0o600
    blobs.close()
    assert not opened.exists()


@given(
    size=st.sampled_from([1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7]),
    offset=st.integers(0, 2 * CHUNK + 7),
)
def test_any_size_from_any_offset(size: int, offset: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    blobs = BlobStore(tmp_path_factory.mktemp("blobs"))
    body = bytes(itertools.islice(itertools.cycle(range(251)), size))
    digest = seal(blobs, body)
    assert b"".join(blobs.chunks(digest, min(offset, size))) == body[min(offset, size) :]
    assert blobs.size(digest) == size


STEP, FIRST = CHUNK + TAG, len(HEADER) + SALT


def swapped(data: bytes) -> bytes:
    """The first two chunks in the other order."""
    end = FIRST + 2 * STEP
    return data[:FIRST] + data[FIRST + STEP : end] + data[FIRST : FIRST + STEP] + data[end:]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: FIRST + STEP],
        lambda data: data[:FIRST],
        lambda data: data + b"x",
        lambda data: flipped(data, 0),
        lambda data: flipped(data, 30),
        lambda data: flipped(data, 200),
        swapped,
    ],
    ids=["cut", "whole chunks short", "nothing but the header", "longer", "format", "salt", "a bit", "chunks swapped"],
)
def test_a_changed_file_is_never_served(blobs: BlobStore, damage: object) -> None:
    digest = seal(blobs, BODY)
    path = sealed_file(blobs, digest)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert not blobs.check(digest)
    for read in (lambda: blobs.read(digest), lambda: blobs.path(digest), lambda: b"".join(blobs.chunks(digest))):
        with pytest.raises(Corrupt):
            read()


def test_one_blob_does_not_open_as_another(blobs: BlobStore) -> None:
    one, other = seal(blobs, BODY), seal(blobs, BODY[::-1])
    shutil.copy(sealed_file(blobs, one), sealed_file(blobs, other))
    with pytest.raises(Corrupt):
        blobs.read(other)


def test_the_same_bytes_are_sealed_differently_each_time(blobs: BlobStore, tmp_path: Path) -> None:
    digest = seal(blobs, BODY)
    first = sealed_file(blobs, digest).read_bytes()
    seal(blobs, BODY)
    assert first[len(HEADER) :] != sealed_file(blobs, digest).read_bytes()[len(HEADER) :]


def test_without_its_key_nothing_opens_and_nothing_more_is_sealed(blobs: BlobStore, tmp_path: Path) -> None:
    """A new key would hide the loss; what is not sealed is read as before."""
    digest, plain = seal(blobs, BODY), blobs.put(b"plain")
    kept = (tmp_path / "seal.key").read_bytes()
    (tmp_path / "seal.key").unlink()
    with pytest.raises(Unavailable, match="is lost"):
        blobs.read(digest)
    with pytest.raises(Unavailable, match="is lost"):
        seal(blobs, b"more")
    assert blobs.read(plain) == b"plain"
    assert not (tmp_path / "seal.key").exists()
    (tmp_path / "seal.key").write_bytes(b"x" * 32)
    with pytest.raises(Corrupt, match="another key"):
        blobs.read(digest)
    (tmp_path / "seal.key").write_bytes(kept)
    assert blobs.read(digest) == BODY


def test_what_is_cut_or_wrong_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    digest = digest_bytes(BODY)
    with blobs.vault.incoming(digest, len(BODY), 0) as incoming:
        incoming.write(BODY[:100_000])
        assert not incoming.finish()
    with blobs.vault.incoming(digest, 4, 0) as incoming:
        incoming.write(b"else")
        with pytest.raises(Corrupt):
            incoming.finish()
    with pytest.raises(Invalid, match="announced"), blobs.vault.incoming(digest, 4, 0) as incoming:
        incoming.write(b"longer")
    with pytest.raises(Conflict, match="one go"):
        blobs.vault.incoming(digest, len(BODY), 7)
    assert [path for path in (tmp_path / "blobs" / "sealed").rglob("*") if path.is_file()] == []
    with pytest.raises(NotFound):
        blobs.read(digest)


def test_what_a_dead_process_had_open_is_swept(blobs: BlobStore, tmp_path: Path) -> None:
    opened = blobs.path(seal(blobs, BODY))
    dead = opened.parent.with_name(opened.parent.name.rpartition("-")[0] + "-4000001")
    shutil.copytree(opened.parent, dead)
    (tmp_path / "blobs" / "sealed" / "cut.tmp").write_bytes(b"x")
    again = BlobStore(tmp_path / "blobs", None, tmp_path / "seal.key")
    again.sweep()
    assert not dead.exists()
    assert opened.exists()
    assert not (tmp_path / "blobs" / "sealed" / "cut.tmp").exists()
    blobs.close()


def test_a_plain_copy_is_read_as_it_is(blobs: BlobStore) -> None:
    """Who sends the same bytes unsealed has chosen so."""
    digest = seal(blobs, BODY)
    assert blobs.put(BODY) == digest
    assert not blobs.sealed(digest)
    assert hex_of(digest) in str(blobs.path(digest))


def test_a_damaged_one_is_set_aside_and_can_be_sealed_again(blobs: BlobStore, tmp_path: Path) -> None:
    digest, other = seal(blobs, BODY), seal(blobs, b"another")
    path = sealed_file(blobs, digest)
    path.write_bytes(flipped(path.read_bytes(), 200))
    assert blobs.set_aside(digest)
    assert not blobs.set_aside(other)
    assert (blobs.has(digest), blobs.was_set_aside(digest)) == (False, True)
    assert list(blobs.vault.stored()) == [other]
    assert seal(blobs, BODY) == digest
    assert blobs.read(digest) == BODY


def test_with_a_wrong_key_none_is_set_aside(blobs: BlobStore, tmp_path: Path) -> None:
    digest = seal(blobs, b"small")
    kept = (tmp_path / "seal.key").read_bytes()
    (tmp_path / "seal.key").write_bytes(b"x" * 32)
    assert not blobs.vault.key_fits()
    assert not blobs.set_aside(digest)
    (tmp_path / "seal.key").unlink()
    assert not blobs.set_aside(digest)
    (tmp_path / "seal.key").write_bytes(kept)
    assert blobs.vault.key_fits()
    assert blobs.read(digest) == b"small"
