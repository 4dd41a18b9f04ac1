"""Group commit: many callers wait, one writer takes all that waits as one group.

While a group is being made durable the next one gathers, so a slow disk makes groups large, and a quiet hub answers the
lone caller at once. Callers that are known to be many (the last group held several) get a moment to gather again after
they were answered, or groups would swing between halves of them.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

LIMIT = 1024
"""Items in a group: what one flush carries, and what one slow group may keep waiting."""

LINGER = 0.004
"""The longest moment to gather, in seconds: a fraction of what a group costs."""

T = TypeVar("T")


class Groups(Generic[T]):
    """Hands items to `commit` in groups, in the order in which they came. `commit` answers whoever waits; it never raises."""

    def __init__(self, commit: Callable[[list[T]], None], name: str) -> None:
        self._commit = commit
        self._queue: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._writer.start()

    def stop(self) -> None:
        """Finish what is queued."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()

    def add(self, item: T) -> None:
        self._queue.put(item)

    def _run(self) -> None:
        last = 1
        while (first := self._queue.get()) is not None:
            group, ended = self._gather(first, last)
            last = len(group)
            self._commit(group)
            if ended:
                return

    def _gather(self, first: T, last: int) -> tuple[list[T], bool]:
        """All that waits; up to the size of the last group, what comes within the moment too."""
        group = [first]
        deadline = time.monotonic() + LINGER
        while len(group) < LIMIT:
            patience = deadline - time.monotonic() if len(group) < last else 0
            try:
                item = self._queue.get(timeout=patience) if patience > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
        return group, False
