"""Fair queueing: expensive work is done for one member after the other, however much each of them asks for.

Round robin over the members that wait (J. Nagle, "On packet switches with infinite storage", RFC 970): a member's
thousandth request waits behind every other member's first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `slots` pieces of work at once; for one event loop."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, member: str) -> AsyncIterator[None]:
        """Wait until it is the member's turn; the turn ends with the block."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(member)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, member: str) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(member, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            member, queue = self._waiting.popitem(last=False)
            granted = queue.popleft()
            if queue:
                self._waiting[member] = queue
            if not granted.cancelled():
                granted.set_result(None)
                return
        self._free += 1
