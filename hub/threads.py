"""The threads in which calls wait for the disk and the database: many, and for each party's calls one at a time.

Threads share one interpreter, which those that want it get in turn: how many of them one party's flood may set to work is
what another party's call waits for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class _Party:
    """`running` of its pieces of work have a thread or are about to; the others wait, first come, first served."""

    running: int = 0
    waiting: deque[Callable[[], object]] = field(default_factory=deque)


class Threads(ThreadPoolExecutor):
    """`threads` in all, `most` of them for a party; `party` names whom work is for when it comes: `None` is the hub itself."""

    def __init__(self, threads: int, most: int, party: Callable[[], str | None]) -> None:
        super().__init__(threads, "hub")
        self._most, self._party = most, party
        self._parties: dict[str, _Party] = {}
        self._changing = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        name = self._party()
        if name is None:
            return super().submit(fn, *args, **kwargs)
        done: Future[T] = Future()
        begin: Callable[[], object] = partial(super().submit, self._run, name, done, partial(fn, *args, **kwargs))
        with self._changing:
            party = self._parties.setdefault(name, _Party())
            if party.running >= self._most:
                party.waiting.append(begin)
                return done
            party.running += 1
        begin()
        return done

    def _run(self, name: str, done: Future[T], work: Callable[[], T]) -> None:
        try:
            if done.set_running_or_notify_cancel():
                _answer(done, work)
        finally:
            if begin := self._next(name):
                begin()

    def _next(self, name: str) -> Callable[[], object] | None:
        with self._changing:
            party = self._parties[name]
            if party.waiting:
                return party.waiting.popleft()
            party.running -= 1
            if not party.running:
                del self._parties[name]
            return None


def _answer(done: Future[T], work: Callable[[], T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # it is the waiting call's to handle, whatever it is
        done.set_exception(error)
