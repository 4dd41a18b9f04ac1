"""Fair queueing: expensive work is done for one member after the other, however much each of them asks for.

Round robin over the members that wait (J. Nagle, "On packet switches with infinite storage", RFC 970): a member's
thousandth request waits behind every other member's first.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `slots` pieces of work at once, and `each` of one member; for one event loop."""

    def __init__(self, slots: int, each: int | None = None) -> None:
        self._free, self._each = slots, each or slots
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, member: str) -> AsyncIterator[None]:
        """Wait until it is the member's turn; the turn ends with the block."""
        if self._free and self._held[member] < self._each:
            self._grant(member)
        else:
            await self._wait(member)
        try:
            yield
        finally:
            self._give_back(member)

    async def _wait(self, member: str) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(member, deque()).append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back(member)
            raise

    def _grant(self, member: str) -> None:
        self._free -= 1
        self._held[member] += 1

    def _give_back(self, member: str) -> None:
        self._free += 1
        self._held[member] -= 1
        if not self._held[member]:
            del self._held[member]
        self._pass_on()

    def _pass_on(self) -> None:
        """Grant what is free to those who wait and have not all that is theirs; who was granted one goes to the end."""
        for member in list(self._waiting):
            if not self._free:
                return
            if self._held[member] < self._each and self._grant_first(member):
                self._grant(member)

    def _grant_first(self, member: str) -> bool:
        """Whether one of the member's requests still waited; then it waits no more."""
        queue = self._waiting.pop(member)
        while queue and queue[0].cancelled():
            queue.popleft()
        if not queue:
            return False
        queue.popleft().set_result(None)
        if queue:
            self._waiting[member] = queue
        return True
