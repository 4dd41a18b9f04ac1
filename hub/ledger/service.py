"""gRPC: the ledger and the blobs it names."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from sqlmodel import Session, col, select

from hub.blobs import BlobStore
from hub.callers import Caller, caller
from hub.database import Database
from hub.ledger.grants import NOBODY, is_known, lend, may_read, withdrawn_with
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.ledger.tables import LedgerEntry
from protos.coalition.v1 import ledger_pb2, ledger_pb2_grpc
from protos.coalition.v1.common_pb2 import Receipt
from protos.documents.leaf import Leaf
from trust.digests import Digest, parse_digest
from trust.errors import Corrupt, Invalid, NotFound

PAGE = 1000
MAX_NODE_BLOB = 1 << 42
_TILE = re.compile(r"tile/(?:[0-9]{1,2}|entries)/(?:x[0-9]{3}/)*[0-9]{3}(?:\.p/[0-9]{1,3})?")


class LedgerService(ledger_pb2_grpc.LedgerServicer):
    """Reads for everyone enrolled."""

    def __init__(self, database: Database, log: Log, journal: Journal) -> None:
        self._database, self._log, self._journal = database, log, journal

    async def GetHead(self, request: ledger_pb2.GetHeadRequest, context: Any) -> ledger_pb2.TreeHead:
        note, head = await asyncio.to_thread(self._log.signed_head)
        return ledger_pb2.TreeHead(origin=head.origin, size=head.size, root=head.root, note=note)

    async def ReadTile(self, request: ledger_pb2.ReadTileRequest, context: Any) -> ledger_pb2.Tile:
        if not _TILE.fullmatch(request.path):
            raise Invalid(f"{request.path[:80]!r} is not a tile's path.", field="path")
        return ledger_pb2.Tile(data=await asyncio.to_thread(self._log.read, request.path))

    async def ListEntries(self, request: ledger_pb2.ListEntriesRequest, context: Any) -> ledger_pb2.ListEntriesResponse:
        count = min(request.count or PAGE, PAGE)
        entries, size = await asyncio.to_thread(self._entries, request.start, count)
        return ledger_pb2.ListEntriesResponse(entries=entries, size=size)

    async def GetReceipt(self, request: ledger_pb2.GetReceiptRequest, context: Any) -> Receipt:
        return await asyncio.to_thread(self._receipt, request)

    def _entries(self, start: int, count: int) -> tuple[list[ledger_pb2.LedgerEntry], int]:
        """From the log's files, which prove themselves, and not from the database, which could not."""
        if start < 0 or count < 0:
            raise Invalid("start and count cannot be negative.", field="start")
        reader = self._log.reader()
        start = min(start, reader.size)
        leaves = reader.entries(start, min(start + count, reader.size))
        return [_message(index, Leaf.decode(leaf)) for index, leaf in enumerate(leaves, start)], reader.size

    def _receipt(self, request: ledger_pb2.GetReceiptRequest) -> Receipt:
        if request.WhichOneof("entry") == "index":
            return self._journal.receipt(request.index)
        with self._database.session() as session:
            index = _newest(session, request.id)
        return self._journal.receipt(index)


def _newest(session: Session, identifier: str) -> int:
    query = select(LedgerEntry.index).where(LedgerEntry.id == identifier).order_by(col(LedgerEntry.index).desc())
    index = session.exec(query).first()
    if index is None:
        raise NotFound(f"The ledger records nothing called {identifier[:80]!r}.", "See `coalition ledger entries`.")
    return index


def _message(index: int, leaf: Leaf) -> ledger_pb2.LedgerEntry:
    return ledger_pb2.LedgerEntry(
        index=index,
        kind=leaf.kind,
        signer=leaf.signer,
        id=leaf.id,
        time=leaf.time,
        envelope=leaf.envelope,
        payload=leaf.payload,
    )


class BlobsService(ledger_pb2_grpc.BlobsServicer):
    """Blobs by digest, to those whom the ledger's projections grant them."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database, self._blobs = database, blobs

    async def Read(self, request: ledger_pb2.ReadBlobRequest, context: Any) -> AsyncIterator[ledger_pb2.BlobChunk]:
        digest = parse_digest(request.digest)
        size = await asyncio.to_thread(self._readable_size, digest, caller())
        if not 0 <= request.offset <= size:
            raise Invalid(f"The blob has {size} bytes; offset {request.offset} is outside.", field="offset")
        yield ledger_pb2.BlobChunk(digest=digest, size=size)
        chunks = self._blobs.chunks(digest, request.offset)
        try:
            while chunk := await asyncio.to_thread(next, chunks, b""):
                yield ledger_pb2.BlobChunk(data=chunk)
        except Corrupt:
            await asyncio.to_thread(self._blobs.set_aside, digest)
            raise

    async def Check(self, request: ledger_pb2.CheckBlobRequest, context: Any) -> ledger_pb2.CheckBlobResponse:
        digest = parse_digest(request.digest)
        await asyncio.to_thread(self._refuse_unknown, digest)
        size = await asyncio.to_thread(self._blobs.size, digest)
        intact = await asyncio.to_thread(self._blobs.check, digest)
        if not intact:
            await asyncio.to_thread(self._blobs.set_aside, digest)
        return ledger_pb2.CheckBlobResponse(intact=intact, size=size)

    async def Write(
        self, request_iterator: AsyncIterator[ledger_pb2.BlobChunk], context: Any
    ) -> ledger_pb2.WriteBlobResponse:
        first = await anext(request_iterator)
        digest = parse_digest(first.digest)
        if not 0 < first.size <= MAX_NODE_BLOB:
            raise Invalid(f"A blob cannot have {first.size} bytes.", field="size")
        if not await asyncio.to_thread(self._blobs.keep, digest):
            await self._receive(digest, first, request_iterator)
        await asyncio.to_thread(self._note, digest)
        return ledger_pb2.WriteBlobResponse(digest=digest)

    async def _receive(
        self, digest: Digest, first: ledger_pb2.BlobChunk, chunks: AsyncIterator[ledger_pb2.BlobChunk]
    ) -> None:
        with self._blobs.incoming(digest, first.size) as incoming:
            await asyncio.to_thread(incoming.write, first.data)
            async for chunk in chunks:
                await asyncio.to_thread(incoming.write, chunk.data)
            if not await asyncio.to_thread(incoming.finish):
                raise Invalid(f"Only {incoming.offset} of {first.size} bytes of {digest} came.", "Send it again.")

    def _refuse_unknown(self, digest: Digest) -> None:
        """What no entry names is answered alike, whether it is here or not."""
        with self._database.session() as session:
            if not is_known(session, digest):
                raise NotFound(f"There is no blob {digest}.")

    def _note(self, digest: Digest) -> None:
        """Made here, until an entry names it: what comes of it nobody knows yet."""
        with self._database.session(writing=True) as session:
            lend(session, digest, NOBODY)

    def _readable_size(self, digest: Digest, who: Caller) -> int:
        with self._database.session() as session:
            allowed = may_read(session, digest, member="" if who.kind == "node" else who.id, node=who.kind == "node")
            gone = "" if allowed else withdrawn_with(session, digest)
        allowed = allowed and (who.reads_sealed or not self._blobs.sealed(digest))
        if gone:
            raise NotFound(f"The blob {digest} was withdrawn with {gone}.")
        here = allowed and self._blobs.has(digest)
        if allowed and not here and self._blobs.was_set_aside(digest):
            raise NotFound(
                f"The blob {digest} was damaged on the hub's disk.",
                "Its owner may submit it again; or ask the core team to restore it from a mirror.",
            )
        if not here:
            raise NotFound(f"There is no blob {digest} that you may read.")
        return self._blobs.size(digest)
