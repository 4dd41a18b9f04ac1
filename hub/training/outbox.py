"""What a node has to tell the hub, through one conversation at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

from protos.coalition.v1 import training_pb2

MOST = 10_000  # messages that wait while the hub is away; then the oldest progress is given up


class Outbox:
    """Reports about the present task are repeated in every conversation, because a hub that restarted must hear them
    again and takes each only once. Progress, and what the node keeps, is told once.
    """

    def __init__(self) -> None:
        self._reports: list[training_pb2.NodeMessage] = []
        self._waiting: deque[training_pb2.NodeMessage] = deque(maxlen=MOST)
        self._changed = asyncio.Event()

    def put(self, message: training_pb2.NodeMessage) -> None:
        """A later report of the same kind replaces the earlier one in what is repeated: the newest checkpoint is enough."""
        kind = message.WhichOneof("kind")
        if kind not in ("progress", "kept"):
            self._reports = [old for old in self._reports if old.WhichOneof("kind") != kind] + [message]
        self._waiting.append(message)
        self._changed.set()

    def forget(self) -> None:
        """The task is dropped: nothing about it is of interest any more."""
        self._reports.clear()
        self._waiting.clear()

    async def conversation(
        self, heartbeat: float, health: Callable[[], str] = str
    ) -> AsyncGenerator[training_pb2.NodeMessage, None]:
        """Everything that is kept, then what comes up; a heartbeat after so many seconds without. The next one ends this.

        `health`, which may take a moment, says what a heartbeat tells: by default that all is well.

        gRPC goes on reading from a broken call's iterator for a while: it must not take what the next call should bring.
        """
        progress = [message for message in self._waiting if message.WhichOneof("kind") == "progress"]
        waiting = self._waiting = deque([*progress, *self._reports], maxlen=MOST)
        self._changed.set()
        changed = self._changed = asyncio.Event()
        while self._waiting is waiting:
            if waiting:
                yield waiting.popleft()
                continue
            changed.clear()
            try:
                async with asyncio.timeout(heartbeat):
                    await changed.wait()
            except TimeoutError:
                beat = training_pb2.Heartbeat(health=await asyncio.to_thread(health))
                if self._waiting is waiting:
                    yield training_pb2.NodeMessage(heartbeat=beat)
