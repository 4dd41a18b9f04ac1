"""Blobs over the wire: verified, resumed, and there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from protos.transport import blobs
from tests.protos.transport.conftest import CHUNK, Wire
from trust.digests import Digest, digest_bytes
from trust.errors import Corrupt, Invalid, NotFound, Unavailable

DATA = bytes(range(256)) * 40


def test_a_download_is_whole_and_leaves_nothing_beside_it(wire: Wire, channel: grpc.Channel, tmp_path: Path) -> None:
    seen: list[int] = []
    blobs.download(channel, wire.blobs.put(DATA), len(DATA), tmp_path / "deep" / "file", seen.append)
    assert (tmp_path / "deep" / "file").read_bytes() == DATA
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]
    assert sum(seen) == len(DATA)


def test_a_cut_download_goes_on_where_it_stopped(wire: Wire, channel: grpc.Channel, tmp_path: Path) -> None:
    digest, target = wire.blobs.put(DATA), tmp_path / "file"
    wire.blobs.cut_after = 3 * CHUNK
    with pytest.raises(Unavailable):
        blobs.download(channel, digest, len(DATA), target)
    assert not target.exists()
    blobs.download(channel, digest, len(DATA), target)
    assert target.read_bytes() == DATA
    assert wire.blobs.offsets == [0, 3 * CHUNK]


def test_a_file_that_is_right_is_not_fetched_again(wire: Wire, channel: grpc.Channel, tmp_path: Path) -> None:
    digest, target = wire.blobs.put(DATA), tmp_path / "file"
    target.write_bytes(DATA)
    blobs.download(channel, digest, len(DATA), target)
    assert wire.blobs.offsets == []
    target.write_bytes(DATA[:-1] + b"?")
    blobs.download(channel, digest, len(DATA), target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("sent", [DATA[:-1] + b"?", DATA + b"more", DATA[:-1]])
def test_wrong_bytes_never_appear_and_the_next_attempt_starts_afresh(
    wire: Wire, channel: grpc.Channel, tmp_path: Path, sent: bytes
) -> None:
    digest, target = digest_bytes(DATA), tmp_path / "file"
    wire.blobs.held[digest] = sent
    with pytest.raises(Corrupt, match="not those of"):
        blobs.download(channel, digest, len(DATA), target)
    assert list(tmp_path.iterdir()) == []
    wire.blobs.held[digest] = DATA
    blobs.download(channel, digest, len(DATA), target)
    assert target.read_bytes() == DATA


def test_an_empty_blob_can_be_downloaded(wire: Wire, channel: grpc.Channel, tmp_path: Path) -> None:
    blobs.download(channel, wire.blobs.put(b""), 0, tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_missing_blob_is_not_found(channel: grpc.Channel, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        blobs.download(channel, digest_bytes(b"nowhere"), 7, tmp_path / "file")


def test_a_digest_that_is_a_path_is_refused(channel: grpc.Channel, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not a digest"):
        blobs.download(channel, Digest("sha256:../../escape"), 7, tmp_path / "file")


def test_reading_is_bounded_and_verified(wire: Wire, channel: grpc.Channel) -> None:
    digest = wire.blobs.put(DATA)
    assert blobs.read(channel, digest, len(DATA)) == DATA
    with pytest.raises(Invalid, match="more than"):
        blobs.read(channel, digest, len(DATA) - 1)
    wire.blobs.held[digest] = b"other"
    with pytest.raises(Corrupt):
        blobs.read(channel, digest, len(DATA))
    assert not blobs.hash_remote(channel, digest)


def test_a_file_is_written_under_its_digest(wire: Wire, channel: grpc.Channel, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(DATA)
    assert blobs.write(channel, tmp_path / "model") == digest_bytes(DATA)
    assert wire.blobs.held[digest_bytes(DATA)] == DATA
