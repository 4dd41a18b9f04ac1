"""Bytes of a submission on their way in: a chunk is being hashed and written while the next one arrives.

An upload that has its turn holds two chunks in memory, one that waits holds one, whatever the file's size; whoever stops
sending is cut off and can resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from hub.access import Caller
from hub.receiving import Receiving
from hub.submissions.intake import Intake
from hub.turns import Turns
from protos.coalition.v1.submissions_pb2 import UploadChunk
from trust.digests import parse_digest
from trust.errors import Invalid, Unavailable

IDLE = 30.0
"""Seconds that may pass between two messages of an upload."""
STALL = 0.02
"""Seconds that an upload keeps its turn while nothing comes: who sends slowly waits for its next chunk without one."""
AT_ONCE = 16
"""Chunks of a turn."""


class Uploads:
    """Members take turns at sending."""

    def __init__(self, intake: Intake, turns: Turns) -> None:
        self._intake, self._turns = intake, turns

    async def receive(self, who: Caller, messages: AsyncIterator[UploadChunk]) -> tuple[int, bool]:
        """One file: bytes that are here durably, and whether these are all. Raises as `Receiving`, `Unavailable` when idle."""
        first = await _first(messages)
        if first is None or first.data:
            raise Invalid("The first message of an upload names the file and carries no data.", field="data")
        digest = parse_digest(first.digest)
        draft = await asyncio.to_thread(self._intake.draft, first.submission, who.id, who.delegation)
        async with self._turns.turn(who.id):  # what is here already is hashed again
            incoming = await asyncio.to_thread(self._intake.receive, draft, digest, first.offset)
        try:
            await asyncio.to_thread(incoming.expect, first.prefix)
            await self._fill(who.id, incoming, messages)
            complete = await asyncio.to_thread(incoming.finish)
        finally:
            await asyncio.shield(asyncio.to_thread(incoming.close))
        return incoming.offset, complete

    async def _fill(self, member: str, incoming: Receiving, messages: AsyncIterator[UploadChunk]) -> None:
        """Take the chunks of one turn after the other; whoever is slow waits for its next chunk without a turn."""
        stream = _Stream(messages)
        try:
            while True:
                async with self._turns.turn(member):
                    stalled = await _take_some(incoming, stream)
                if stalled and not await stream.waits(IDLE):
                    return
        finally:
            stream.close()


async def _take_some(incoming: Receiving, stream: _Stream) -> bool:
    """Up to `AT_ONCE` chunks, one hashed and written while the next one arrives; whether fewer came."""
    writing: asyncio.Task[None] | None = None
    try:
        for _ in range(AT_ONCE):
            message = await stream.take(STALL)
            if message is None:
                break
            if writing is not None:
                await writing
            writing = asyncio.create_task(
                asyncio.to_thread(incoming.append, message.offset, message.data, message.prefix)
            )
        if writing is not None:
            await writing
    finally:
        if writing is not None:
            writing.cancel()
    return message is None


class _Stream:
    """The messages of an upload, of which the next one is awaited without losing it when the waiting ends."""

    def __init__(self, messages: AsyncIterator[UploadChunk]) -> None:
        self._messages = messages
        self._next: asyncio.Task[UploadChunk | None] | None = None

    async def waits(self, seconds: float) -> bool:
        """Whether a message is there; False at the end. Raises `Unavailable` when none comes within `seconds`."""
        if not await self._arrived(seconds):
            raise _idle()
        return self._next is None or self._next.result() is not None

    async def take(self, seconds: float) -> UploadChunk | None:
        """The next message; None at the end, and when none comes within `seconds`."""
        if self._next is None:
            self._next = asyncio.create_task(_receive(self._messages))
        if not await self._arrived(seconds):
            return None
        message = self._next.result()
        if message is not None:
            self._next = None
        return message

    async def _arrived(self, seconds: float) -> bool:
        return self._next is None or bool((await asyncio.wait({self._next}, timeout=seconds))[0])

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()


async def _receive(messages: AsyncIterator[UploadChunk]) -> UploadChunk | None:
    return await anext(messages, None)


async def _first(messages: AsyncIterator[UploadChunk]) -> UploadChunk | None:
    try:
        async with asyncio.timeout(IDLE):
            return await _receive(messages)
    except TimeoutError:
        raise _idle() from None


def _idle() -> Unavailable:
    return Unavailable(f"Nothing came for {IDLE:g} seconds; what came before is kept.", "Submit it again to go on.")
