"""What nodes have said and nobody has dealt with yet: each one's words in order, nodes in turns. One that says more than the hub
can take delays itself alone."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MOST = 100
"""Words of a node that wait: whoever has said so many is not listened to meanwhile."""
Word = TypeVar("Word")


@dataclass
class _Lane(Generic[Word]):
    words: deque[Word] = field(default_factory=deque)
    room: asyncio.Event = field(default_factory=asyncio.Event)


class Inbox(Generic[Word]):
    """Of one event loop."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane[Word]] = {}  # the one whose turn it is comes first; none is empty
        self._filled = asyncio.Event()

    def put(self, source: str, word: Word) -> None:
        """Whoever might say any number of words waits for `room` first."""
        self._lanes.setdefault(source, _Lane()).words.append(word)
        self._filled.set()

    def put_once(self, source: str, word: Word) -> None:
        """Unless something of this source waits already."""
        if source not in self._lanes:
            self.put(source, word)

    async def room(self, source: str) -> None:
        """Until fewer than `MOST` of its words wait."""
        while (lane := self._lanes.get(source)) and len(lane.words) >= MOST:
            lane.room.clear()
            await lane.room.wait()

    async def get(self) -> Word:
        """The next word."""
        while not self._lanes:
            self._filled.clear()
            await self._filled.wait()
        source = next(iter(self._lanes))
        lane = self._lanes.pop(source)
        word = lane.words.popleft()
        lane.room.set()
        if lane.words:
            self._lanes[source] = lane
        return word
