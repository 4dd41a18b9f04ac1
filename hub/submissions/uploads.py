"""Bytes of a submission on their way in: a chunk is being hashed and written while the next one arrives.

Memory is held by uploads that have a lane, two chunks and what gRPC reads ahead; the others wait with what is read ahead of
theirs, or for a chunk that comes slowly, whatever their number and size. Of those with a lane, some have a turn, in which they
use the processor. Whoever stops sending is cut off and can resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

from hub.callers import Caller
from hub.receiving import Receiving
from hub.submissions.drafts import Draft
from hub.submissions.intake import Intake
from hub.turns import Turns
from protos.coalition.v1.submissions_pb2 import UploadChunk
from trust.digests import Digest, parse_digest
from trust.errors import Conflict, Invalid, Problem, Unavailable

IDLE = 30.0
"""Seconds that may pass between two messages of an upload."""
STALL = 0.02
"""Seconds that an upload keeps its turn while nothing comes: who sends slowly waits for its next chunk without one."""
SLOW = 0.5
"""Seconds that an upload keeps its lane while nothing comes: two slow members must not hold all of them."""
AT_ONCE = 16
"""Chunks of a turn."""
LANES, LANES_EACH = 16, 8
"""Uploads that are sent at the same time, and those of one member."""
TURNS = 8
"""Uploads that are hashed and written at the same time."""

Received = tuple[int, bool]
"""Bytes that are here durably, and whether these are all."""


class Uploads:
    """Members take turns at sending."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._lanes, self._turns = Turns(LANES, LANES_EACH), Turns(TURNS)
        self._going: dict[tuple[str, Digest], asyncio.Task[Received]] = {}

    async def receive(self, who: Caller, messages: AsyncIterator[UploadChunk]) -> Received:
        """One file. Raises as `Receiving`, `Unavailable` when idle, `Conflict` when the same file is sent anew elsewhere."""
        first = await _first(messages)
        if first is None or first.data:
            raise Invalid("The first message of an upload names the file and carries no data.", field="data")
        digest = parse_digest(first.digest)
        draft = await asyncio.to_thread(self._intake.draft, first.submission, who.id, who.delegation)
        return await self._instead((draft.id, digest), lambda: self._receive(who.id, draft, first, messages))

    async def _instead(self, key: tuple[str, Digest], begin: Callable[[], Coroutine[None, None, Received]]) -> Received:
        """Whoever sends a file again, because the line was cut, does not wait until the hub notices that it was."""
        replaces = False
        while older := self._going.get(key):
            replaces = True
            older.cancel()
            await asyncio.wait({older})
        task = self._going[key] = asyncio.create_task(begin())
        task.add_done_callback(lambda done: self._going.pop(key))
        try:
            return await task
        except Conflict as problem:
            if replaces:  # more of the older one was written since the sender asked where it stands
                raise Unavailable(problem.what, "Open the submission again.") from None
            raise
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current and current.cancelling():  # the sender went, or the hub stops
                raise
            raise Conflict(
                f"Another upload of {key[1]} took the place of this one.", "Submit from one place."
            ) from None

    async def _receive(
        self, member: str, draft: Draft, first: UploadChunk, messages: AsyncIterator[UploadChunk]
    ) -> Received:
        async with self._opened(member, draft, parse_digest(first.digest), first.offset) as incoming:
            await asyncio.to_thread(incoming.expect, first.prefix)
            stream = _Stream(messages)
            try:
                while await self._some(member, incoming, stream):
                    pass
            finally:
                stream.close()
            complete = await asyncio.to_thread(incoming.finish)
            return incoming.offset, complete

    @asynccontextmanager
    async def _opened(self, member: str, draft: Draft, digest: Digest, offset: int) -> AsyncIterator[Receiving]:
        """Where the bytes go; closed again also when the sender goes while it is being opened."""
        async with self._turns.turn(member):  # what is here already is hashed again
            opening = asyncio.create_task(asyncio.to_thread(self._intake.receive, draft, digest, offset))
            try:
                await asyncio.shield(opening)
            except asyncio.CancelledError:
                await _close(opening)
                raise
        try:
            yield opening.result()
        finally:
            await asyncio.shield(_close(opening))

    async def _some(self, member: str, incoming: Receiving, stream: _Stream) -> bool:
        """What comes while a lane is held; who is slow waits for its next chunk without one. False when there is no more."""
        async with self._lanes.turn(member):
            async with self._turns.turn(member):
                if await _take(incoming, stream, AT_ONCE):
                    return True
            if await stream.arrives(SLOW):
                async with self._turns.turn(member):
                    return await _take(incoming, stream, 1)
        return await stream.waits(IDLE)


async def _close(opening: asyncio.Task[Receiving]) -> None:
    with suppress(Problem):  # then there is nothing to close
        await asyncio.to_thread((await opening).close)


async def _take(incoming: Receiving, stream: _Stream, count: int) -> bool:
    """Up to `count` chunks, one hashed and written while the next one arrives; whether so many came."""
    writing: asyncio.Task[None] | None = None
    try:
        for _ in range(count):
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
    return message is not None


class _Stream:
    """The messages of an upload, of which the next one is awaited without losing it when the waiting ends."""

    def __init__(self, messages: AsyncIterator[UploadChunk]) -> None:
        self._messages = messages
        self._next: asyncio.Task[UploadChunk | None] | None = None

    async def waits(self, seconds: float) -> bool:
        """Whether a message is there; False at the end. Raises `Unavailable` when none comes within `seconds`."""
        if not await self.arrives(seconds):
            raise _idle()
        return self._next is None or self._next.result() is not None

    async def take(self, seconds: float) -> UploadChunk | None:
        """The next message; None at the end, and when none comes within `seconds`."""
        if self._next is None:
            self._next = asyncio.create_task(_receive(self._messages))
        if not await self.arrives(seconds):
            return None
        message = self._next.result()
        if message is not None:
            self._next = None
        return message

    async def arrives(self, seconds: float) -> bool:
        """Whether the next message, or the end, comes within `seconds`."""
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
