"""Waiting for what a witness tells, instead of sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from contributors.witness.cosigner import Event


class Heard:
    """Every event so far; `wait` until one fits."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, kind: str, size: int = 0, seconds: float = 60) -> Event:
        """The first event of the kind about at least so large a tree."""

        def found() -> Event | None:
            return next((each for each in self.events if each.kind == kind and each.size >= size), None)

        with self._changed:
            assert self._changed.wait_for(lambda: found() is not None, seconds), self.events
        event = found()
        assert event is not None
        return event


def until(ready: Callable[[], bool], seconds: float = 60) -> None:
    """For what another process or thread does and tells nobody."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
