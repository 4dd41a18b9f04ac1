"""The store: whole or not at all, resumable for its owner, and honest about damage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.blobs import BlobStore
from trust.digests import digest_bytes
from trust.errors import Conflict, Corrupt, Invalid, NotFound


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@given(data=st.binary(max_size=3000))
def test_what_is_put_reads_back(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    blobs = BlobStore(tmp_path_factory.mktemp("blobs"))
    digest = blobs.put(data)
    assert digest == digest_bytes(data)
    assert blobs.read(digest) == b"".join(blobs.chunks(digest)) == data
    assert blobs.size(digest) == len(data)


def test_a_changed_blob_is_noticed(blobs: BlobStore) -> None:
    digest = blobs.put(b"content")
    blobs.path(digest).write_bytes(b"c0ntent")
    assert not blobs.check(digest)
    with pytest.raises(Corrupt):
        blobs.read(digest)


def test_what_is_not_there_is_not_found_and_what_is_too_large_is_refused(blobs: BlobStore) -> None:
    with pytest.raises(NotFound):
        blobs.path(digest_bytes(b"nothing"))
    with pytest.raises(Invalid):
        blobs.read(blobs.put(b"x" * 100), max_bytes=99)


def test_two_owners_do_not_share_an_upload(blobs: BlobStore) -> None:
    data, digest = b"x" * 100, digest_bytes(b"x" * 100)
    with blobs.resumable("first", digest, 100, 0) as incoming:
        incoming.write(data[:60])
    assert blobs.partial_size("first", digest) == 60
    assert blobs.partial_size("second", digest) == 0


def test_one_upload_is_written_by_one_connection(blobs: BlobStore) -> None:
    digest = digest_bytes(b"x")
    with blobs.resumable("owner", digest, 1, 0), pytest.raises(Conflict, match="already"):
        blobs.resumable("owner", digest, 1, 0)


def test_more_bytes_than_announced_are_refused(blobs: BlobStore) -> None:
    with blobs.incoming(digest_bytes(b"xx"), 2) as incoming, pytest.raises(Invalid):
        incoming.write(b"xxx")


def test_a_cut_transfer_leaves_nothing_and_start_up_sweeps(blobs: BlobStore, tmp_path: Path) -> None:
    with blobs.incoming(digest_bytes(b"xx"), 2) as incoming:
        incoming.write(b"x")
    partial = tmp_path / "blobs" / "partial"
    assert list(partial.iterdir()) == []
    (partial / "left-behind.tmp").write_bytes(b"x")
    blobs.sweep()
    assert list(partial.iterdir()) == []
