"""A small gRPC server on real TLS: blobs in memory, and problems on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from protos.coalition.v1 import ledger_pb2, ledger_pb2_grpc
from protos.transport.channel import Credentials, connect
from protos.transport.errors import to_status
from trust.certificates import Authority, new_client_request, party_uri
from trust.digests import Digest, digest_bytes
from trust.errors import NotFound, Problem

HUB = "wire-hub"
CHUNK = 1000


@dataclass
class Blobs(ledger_pb2_grpc.BlobsServicer):
    """`cut_after` bytes a stream ends with UNAVAILABLE; `offsets` remembers where reads began."""

    held: dict[str, bytes] = field(default_factory=dict)
    offsets: list[int] = field(default_factory=list)
    cut_after: int | None = None
    check: Callable[[Any], None] = lambda context: None

    def put(self, data: bytes) -> Digest:
        digest = digest_bytes(data)
        self.held[digest] = data
        return digest

    def Read(self, request: ledger_pb2.ReadBlobRequest, context: Any) -> Iterator[ledger_pb2.BlobChunk]:
        self.offsets.append(request.offset)
        if request.digest not in self.held:
            refuse(context, NotFound("There is no such blob."))
        data = self.held[request.digest][request.offset :]
        for start in range(0, len(data), CHUNK):
            if self.cut_after is not None and start >= self.cut_after:
                self.cut_after = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            yield ledger_pb2.BlobChunk(data=data[start : start + CHUNK])

    def Check(self, request: ledger_pb2.CheckBlobRequest, context: Any) -> ledger_pb2.CheckBlobResponse:
        self.check(context)
        return ledger_pb2.CheckBlobResponse(intact=True)

    def Write(self, requests: Iterator[ledger_pb2.BlobChunk], context: Any) -> ledger_pb2.WriteBlobResponse:
        return ledger_pb2.WriteBlobResponse(digest=self.put(b"".join(chunk.data for chunk in requests)))


def refuse(context: Any, problem: Problem) -> None:
    context.abort_with_status(rpc_status.to_status(to_status(problem)))


@dataclass
class Wire:
    """A listener that demands client certificates (`port`) and one that does not (`open_port`)."""

    authority: Authority
    blobs: Blobs
    port: int
    open_port: int

    def credentials(self) -> Credentials:
        key, request = new_client_request("law")
        return Credentials(
            self.authority.cert_pem, self.authority.issue_client(request, party_uri(HUB, "member", "law")), key
        )


@pytest.fixture
def wire() -> Iterator[Wire]:
    authority, blobs = Authority.create(HUB), Blobs()
    pair = authority.issue_server(["127.0.0.1"])
    server = grpc.server(ThreadPoolExecutor(4))
    ledger_pb2_grpc.add_BlobsServicer_to_server(blobs, server)
    mutual = grpc.ssl_server_credentials([pair], authority.cert_pem, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", mutual)
    open_port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    yield Wire(authority, blobs, port, open_port)
    server.stop(0).wait()


@pytest.fixture
def channel(wire: Wire) -> Iterator[grpc.Channel]:
    with connect(f"127.0.0.1:{wire.port}", wire.credentials()) as channel:
        yield channel
