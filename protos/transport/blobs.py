"""Blobs over the wire: fetched resumably and verified before they appear, sent in chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc

from protos.coalition.v1 import ledger_pb2, ledger_pb2_grpc
from protos.transport.errors import from_rpc_error
from trust.digests import CHUNK, Digest, Hasher, digest_bytes, digest_file, hex_of, parse_digest
from trust.errors import Corrupt, Invalid

DEADLINE = 3600.0
Advance = Callable[[int], None]
"""Called with the number of bytes that just went by."""


def download(channel: grpc.Channel, digest: Digest, size: int, target: Path, advance: Advance = lambda n: None) -> None:
    """Fetch a blob to `target`, which appears only when it is whole and right. A cut download is resumed by the next.

    A target that is right already is left alone. Raises `NotFound`, `Unavailable`, and `Corrupt` when the bytes are not
    those of the digest.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and target.stat().st_size == size and digest_file(target) == digest:
        advance(size)
        return
    partial = target.with_name(f".{target.name}.{hex_of(digest)[:16]}.part")
    hasher = Hasher()
    with partial.open("a+b") as file:
        file.seek(0)
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
        offset = file.tell()
        advance(offset)
        try:
            for data in _stream(channel, digest, offset) if offset < size or not size else ():
                offset += len(data)
                if offset > size:
                    break
                file.write(data)
                hasher.update(data)
                advance(len(data))
        except Corrupt:  # the hub's disk has changed it: what came so far is worth nothing
            partial.unlink(missing_ok=True)
            raise
        file.flush()
        os.fsync(file.fileno())
    if offset != size or hasher.digest() != digest:
        partial.unlink(missing_ok=True)
        raise Corrupt(f"The bytes received for {target.name} are not those of {digest}.", "Try again.")
    partial.rename(target)


def read(channel: grpc.Channel, digest: Digest, max_bytes: int) -> bytes:
    """A small blob in memory, verified. Raises as `download`, and `Invalid` beyond `max_bytes`."""
    data = bytearray()
    for chunk in _stream(channel, digest, 0):
        data += chunk
        if len(data) > max_bytes:
            raise Invalid(f"Blob {digest} has more than {max_bytes} bytes.")
    if digest_bytes(data) != digest:
        raise Corrupt(f"The bytes received for {digest} are not its own.", "Try again.")
    return bytes(data)


def hash_remote(channel: grpc.Channel, digest: Digest) -> bool:
    """Fetch a blob only to hash it: True when the hub serves the right bytes. Raises `NotFound` if we may not read it."""
    hasher = Hasher()
    for chunk in _stream(channel, digest, 0):
        hasher.update(chunk)
    return hasher.digest() == digest


def write(channel: grpc.Channel, path: Path) -> Digest:
    """Send a file to the hub's store (nodes may)."""
    digest, size = digest_file(path), path.stat().st_size
    try:
        answer = ledger_pb2_grpc.BlobsStub(channel).Write(_chunks(path, digest, size), timeout=DEADLINE)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
    return parse_digest(answer.digest)


def _stream(channel: grpc.Channel, digest: Digest, offset: int) -> Iterator[bytes]:
    request = ledger_pb2.ReadBlobRequest(digest=digest, offset=offset)
    call = ledger_pb2_grpc.BlobsStub(channel).Read(request, timeout=DEADLINE)
    try:
        for chunk in call:
            if chunk.data:
                yield chunk.data
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
    finally:
        with suppress(Exception):
            call.cancel()


def _chunks(path: Path, digest: Digest, size: int) -> Iterator[ledger_pb2.BlobChunk]:
    with path.open("rb") as file:
        yield ledger_pb2.BlobChunk(digest=digest, size=size, data=file.read(CHUNK))
        while data := file.read(CHUNK):
            yield ledger_pb2.BlobChunk(data=data)
