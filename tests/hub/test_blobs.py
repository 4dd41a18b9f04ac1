"""The store: whole or not at all, resumable for its owner, and honest about damage; in a directory and in a bucket alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import from_url

from hub.blobs import BlobStore
from hub.fuse import Fuse
from hub.object_blobs import ObjectBlobStore, open_blobs
from tests import s3
from trust.digests import CHUNK, Digest, digest_bytes, digest_file, hex_of
from trust.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable

KINDS = ["directory", pytest.param("bucket", marks=pytest.mark.system)]


@pytest.fixture(scope="module")
def server() -> Iterator[s3.S3]:
    with s3.server() as server:
        yield server


@dataclass
class Bucket:
    """An object store, and a hub's local directory before it."""

    url: str
    directory: Path

    def open(self, name: str = "blobs", **options: int) -> ObjectBlobStore:
        """As seen by the hub, or by another one that has fetched nothing yet."""
        return ObjectBlobStore(self.url, self.directory / name, **options)

    def write(self, digest: Digest, data: bytes) -> None:
        """What somebody else does to the bucket."""
        obstore.put(from_url(self.url), self._key(digest), data, mode="overwrite")

    def raw(self, digest: Digest) -> bytes:
        return bytes(obstore.get(from_url(self.url), self._key(digest)).bytes())

    def _key(self, digest: Digest) -> str:
        return f"sha256/{hex_of(digest)[:2]}/{hex_of(digest)}"


@pytest.fixture
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    server: s3.S3 = request.getfixturevalue("server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return Bucket(server.bucket(), tmp_path)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def blobs(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if kind == "directory":
        return BlobStore(tmp_path / "blobs")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.open()


@pytest.fixture
def damage(kind: str, request: pytest.FixtureRequest, blobs: BlobStore) -> Callable[[Digest, bytes], None]:
    """Write other bytes where the blob lies."""

    def write(digest: Digest, data: bytes) -> None:
        path = blobs.path(digest)
        if kind == "directory":
            path.write_bytes(data)
        else:
            bucket: Bucket = request.getfixturevalue("bucket")
            bucket.write(digest, data)
            path.unlink()

    return write


@given(data=st.binary(max_size=3000))
def test_what_is_put_reads_back(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    blobs = BlobStore(tmp_path_factory.mktemp("blobs"))
    digest = blobs.put(data)
    assert digest == digest_bytes(data)
    assert blobs.read(digest) == b"".join(blobs.chunks(digest)) == data
    assert blobs.size(digest) == len(data)


def test_groups_and_files_and_uploads_read_back(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.put_group([b"one", b"two", b"one"])
    assert blobs.read(digest_bytes(b"two")) == b"two"
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 4096 * 20)  # 20 MiB: to a bucket, in parts
    digest = blobs.put_file(source)
    assert digest == digest_file(source)
    assert blobs.check(digest)
    assert blobs.size(digest) == source.stat().st_size
    data = b"x" * 100
    for start, stop in ((0, 60), (60, 100)):
        with blobs.resumable("owner", digest_bytes(data), 100, start) as incoming:
            incoming.write(data[start:stop])
            assert incoming.finish() == (stop == 100)
    assert b"".join(blobs.chunks(digest_bytes(data), 40)) == data[40:]
    assert blobs.put(data) == digest_bytes(data)


def test_wrong_bytes_are_refused_and_leave_nothing(blobs: BlobStore) -> None:
    digest = digest_bytes(b"right")
    with blobs.resumable("owner", digest, 5, 0) as incoming:
        incoming.write(b"wrong")
        with pytest.raises(Corrupt):
            incoming.finish()
    assert not blobs.has(digest)
    assert blobs.partials.size("owner", digest) == 0


def test_a_changed_blob_is_noticed(blobs: BlobStore, damage: Callable[[Digest, bytes], None]) -> None:
    digest = blobs.put(b"content")
    damage(digest, b"c0ntent")
    assert not blobs.check(digest)
    with pytest.raises(Corrupt):
        blobs.read(digest)


@pytest.mark.parametrize("offset", [0, CHUNK // 2, 2 * CHUNK, 2 * CHUNK + 70])
@pytest.mark.parametrize("changed", [0, CHUNK + 3, 2 * CHUNK + 80], ids=["first piece", "second piece", "last piece"])
def test_a_reader_never_gets_the_end_of_a_changed_blob(
    blobs: BlobStore, damage: Callable[[Digest, bytes], None], changed: int, offset: int
) -> None:
    """Not even one who begins behind the change."""
    data = os.urandom(2 * CHUNK + 100)
    digest = blobs.put(data)
    assert b"".join(blobs.chunks(digest, offset)) == data[offset:]
    assert b"".join(blobs.chunks(digest, len(data))) == b""
    damage(digest, data[:changed] + bytes([data[changed] ^ 1]) + data[changed + 1 :])
    came: list[bytes] = []
    with pytest.raises(Corrupt):
        came.extend(blobs.chunks(digest, offset))
    assert sum(map(len, came)) < len(data) - offset


def test_copies_and_paths_for_others_are_hashed_first(
    blobs: BlobStore, damage: Callable[[Digest, bytes], None], tmp_path: Path
) -> None:
    digest = blobs.put(b"content")
    blobs.copy_out(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == blobs.sound(digest).read_bytes() == b"content"
    damage(digest, b"c0ntent")
    for read in (lambda: blobs.copy_out(digest, tmp_path / "copy"), lambda: blobs.sound(digest)):
        with pytest.raises(Corrupt):
            read()


def test_a_damaged_blob_is_set_aside_and_can_be_sent_again(
    blobs: BlobStore, damage: Callable[[Digest, bytes], None], caplog: pytest.LogCaptureFixture
) -> None:
    digest = blobs.put(b"content")
    assert not blobs.set_aside(digest)
    for _ in range(2):
        damage(digest, b"c0ntent")
        assert blobs.set_aside(digest)
        assert not blobs.set_aside(digest)
        assert (blobs.has(digest), blobs.was_set_aside(digest)) == (False, True)
        with pytest.raises(NotFound):
            blobs.read(digest)
        assert blobs.put(b"content") == digest
        assert blobs.read(digest) == b"content"
    assert digest in caplog.text


def test_what_was_set_aside_is_kept(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    for body in (b"c0ntent", b"conten7"):
        blobs.path(blobs.put(b"content")).write_bytes(body)
        blobs.set_aside(digest_bytes(b"content"))
    kept = sorted((tmp_path / "damaged").iterdir())
    assert [path.read_bytes() for path in kept] == [b"c0ntent", b"conten7"]


def test_everything_stored_is_listed_in_order_from_anywhere(blobs: BlobStore, tmp_path: Path) -> None:
    stored = sorted(blobs.put(b"%d" % number) for number in range(60))
    (tmp_path / "blobs" / "sha256" / stored[0][7:9] / "no-digest").write_bytes(b"")
    assert list(blobs.stored()) == stored
    assert list(blobs.stored(stored[20])) == stored[21:]
    assert list(blobs.stored(stored[-1])) == []


def test_what_is_not_there_is_not_found_and_what_is_too_large_is_refused(blobs: BlobStore) -> None:
    with pytest.raises(NotFound):
        blobs.path(digest_bytes(b"nothing"))
    with pytest.raises(NotFound):
        blobs.size(digest_bytes(b"nothing"))
    assert not blobs.has(digest_bytes(b"nothing"))
    with pytest.raises(Invalid):
        blobs.read(blobs.put(b"x" * 100), max_bytes=99)


def test_two_owners_do_not_share_an_upload(blobs: BlobStore) -> None:
    data, digest = b"x" * 100, digest_bytes(b"x" * 100)
    with blobs.resumable("first", digest, 100, 0) as incoming:
        incoming.write(data[:60])
    assert blobs.partials.size("first", digest) == 60
    assert blobs.partials.size("second", digest) == 0


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


def test_a_sweep_beside_others_leaves_what_they_write(blobs: BlobStore, tmp_path: Path) -> None:
    with blobs.incoming(digest_bytes(b"xx"), 2) as incoming:
        incoming.write(b"xx")
        blobs.sweep(older=3600)
        assert incoming.finish()
    assert blobs.has(digest_bytes(b"xx"))


@pytest.mark.system
def test_what_one_hub_stored_in_a_bucket_another_reads_and_verifies(bucket: Bucket) -> None:
    digest = bucket.open().put(b"content")
    other = bucket.open("elsewhere")
    assert (other.has(digest), other.size(digest)) == (True, 7)
    assert other.path(digest).read_bytes() == b"content"
    bucket.write(digest, b"c0ntent")
    with pytest.raises(Corrupt, match="object store"):
        bucket.open("third").path(digest)
    assert not list((bucket.directory / "third" / "sha256").glob("*/*"))


@pytest.mark.system
def test_a_damaged_copy_in_the_cache_is_fetched_again(bucket: Bucket) -> None:
    blobs = bucket.open()
    digest = blobs.put(b"content")
    blobs.path(digest).write_bytes(b"c0ntent")
    assert blobs.read(digest) == b"content"
    assert blobs.path(digest).read_bytes() == b"content"


@pytest.mark.system
def test_a_damaged_object_is_replaced_by_the_copy_in_the_cache(bucket: Bucket) -> None:
    blobs = bucket.open()
    digest = blobs.put(b"content")
    bucket.write(digest, b"c0ntent")
    assert not blobs.check(digest)
    assert blobs.set_aside(digest)
    assert bucket.raw(digest) == b"content"
    assert blobs.check(digest)
    assert bucket.open("elsewhere").was_set_aside(digest)


@pytest.mark.system
def test_an_object_that_is_there_is_kept_and_a_cut_one_is_replaced(bucket: Bucket) -> None:
    digest = digest_bytes(b"content")
    bucket.write(digest, b"cont")
    bucket.open()._upload(digest, b"content")
    assert bucket.raw(digest) == b"content"
    bucket.write(digest, b"c0ntent")  # as long as it should be: a reader notices, a writer does not look
    bucket.open()._upload(digest, b"content")
    assert bucket.raw(digest) == b"c0ntent"


@pytest.mark.system
def test_a_cache_beyond_its_limit_drops_what_was_not_used_for_long(bucket: Bucket) -> None:
    blobs = bucket.open(cache_bytes=10)
    old, new = blobs.put(b"old content"), blobs.put(b"new content")
    os.utime(blobs.path(old), (0, 0))
    blobs.sweep()
    assert not (bucket.directory / "blobs" / "sha256" / hex_of(old)[:2] / hex_of(old)).exists()
    assert blobs.read(old) == b"old content"
    assert blobs.read(new) == b"new content"


@pytest.mark.system
def test_a_bucket_that_is_away_refuses_and_the_hub_goes_on(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stored half; what was sent for an upload is kept, and it completes when the bucket is back."""
    digest, there = digest_bytes(b"content"), bucket.open()
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT", "http://127.0.0.1:1")
        blobs = bucket.open()
        with pytest.raises(Unavailable, match="object store"):
            blobs.put(b"other")
        with blobs.resumable("owner", digest, 7, 0) as incoming:
            incoming.write(b"content")
            with pytest.raises(Unavailable):
                incoming.finish()
        assert not blobs.fuse.reason
    assert not there.has(digest)
    with there.resumable("owner", digest, 7, 7) as incoming:
        assert incoming.finish()
    assert there.read(digest) == b"content"


def test_what_is_no_object_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is no object store"):
        open_blobs("ftp://somewhere", tmp_path, Fuse(), tmp_path / "seal.key")
    assert type(open_blobs("", tmp_path, Fuse(), tmp_path / "seal.key")) is BlobStore
