"""Bytes of a submission on their way in: a chunk is being hashed and written while the next one arrives.

An upload holds two chunks in memory and nothing else, whatever the file's size; whoever stops sending is cut off and can resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hub.receiving import Receiving
from hub.submissions.intake import Intake
from hub.turns import Turns
from protos.coalition.v1.submissions_pb2 import UploadChunk
from trust.digests import parse_digest
from trust.errors import Invalid, Unavailable

IDLE = 30.0
"""Seconds that may pass between two messages of an upload."""


class Uploads:
    """Members take turns at hashing and writing."""

    def __init__(self, intake: Intake, turns: Turns) -> None:
        self._intake, self._turns = intake, turns

    async def receive(self, member: str, messages: AsyncIterator[UploadChunk]) -> tuple[int, bool]:
        """One file: bytes that are here durably, and whether these are all. Raises as `Receiving`, `Unavailable` when idle."""
        first = await _next(messages)
        if first is None or first.data:
            raise Invalid("The first message of an upload names the file and carries no data.", field="data")
        digest = parse_digest(first.digest)
        draft = await asyncio.to_thread(self._intake.draft, first.submission, member)
        async with self._turns.turn(member):  # what is here already is hashed again
            incoming = await asyncio.to_thread(self._intake.receive, draft, digest, first.offset)
        try:
            await asyncio.to_thread(incoming.expect, first.prefix)
            await self._fill(member, incoming, messages)
            complete = await asyncio.to_thread(incoming.finish)
        finally:
            await asyncio.shield(asyncio.to_thread(incoming.close))
        if complete:
            await asyncio.to_thread(self._intake.shown, draft, digest)
        return incoming.offset, complete

    async def _fill(self, member: str, incoming: Receiving, messages: AsyncIterator[UploadChunk]) -> None:
        writing: asyncio.Task[None] | None = None
        try:
            while (message := await _next(messages)) is not None:
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._append(member, incoming, message))
            if writing is not None:
                await writing
        finally:
            if writing is not None:
                writing.cancel()

    async def _append(self, member: str, incoming: Receiving, message: UploadChunk) -> None:
        async with self._turns.turn(member):
            await asyncio.to_thread(incoming.append, message.offset, message.data, message.prefix)


async def _next(messages: AsyncIterator[UploadChunk]) -> UploadChunk | None:
    try:
        async with asyncio.timeout(IDLE):
            return await anext(messages)
    except StopAsyncIteration:
        return None
    except TimeoutError:
        raise Unavailable(
            f"Nothing came for {IDLE:g} seconds; what came before is kept.", "Submit it again to go on."
        ) from None
