"""One call to the hub, a call that is made again while the hub is away, and a watch that is taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from protos.coalition.v1 import common_pb2
from protos.transport.errors import from_rpc_error
from trust.errors import Exhausted, Unavailable

DEADLINE = 60.0
WATCH_DEADLINE = 900.0  # a watch that is longer is taken up again
PAUSES = (0.5, 1, 2, 4, 8, 8, 8)  # seconds between attempts: a hub that restarts is away for half a minute or less
WAITS = 5  # times that a call is made again because the hub asked us to wait

Answer = TypeVar("Answer")
Advance = Callable[[int], None]
"""Called with the number of bytes that just went by."""


def call(method: Callable[..., Answer], request: Any, deadline: float = DEADLINE) -> Answer:
    """One call; a hub that asks us to wait is obeyed."""
    for _ in range(WAITS):
        try:
            return method(request, timeout=deadline)
        except grpc.RpcError as error:
            problem = from_rpc_error(error)
        if not isinstance(problem, Exhausted) or isinstance(request, Iterator):  # what was sent cannot be taken back
            break
        time.sleep(problem.retry_after)
    raise problem from None


def persist(attempt: Callable[[], Answer]) -> Answer:
    """Try again while the hub is away; what was transferred before is not sent twice."""
    for pause in PAUSES:
        try:
            return attempt()
        except Exhausted as problem:
            time.sleep(max(pause, problem.retry_after))
        except Unavailable:
            time.sleep(pause)
    return attempt()


class Meter:
    """Progress that never runs backwards: bytes that an earlier attempt counted are not counted again."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._shown, self._now = advance, 0, 0

    def restart(self) -> Advance:
        self._now = 0
        return self._count

    def _count(self, count: int) -> None:
        self._now += count
        if self._now > self._shown:
            self._advance(self._now - self._shown)
            self._shown = self._now


def watched(method: Callable[..., Any], identifier: str) -> Iterator[common_pb2.ProgressEvent]:
    after = failures = 0
    while True:
        try:
            for event in method(common_pb2.WatchRequest(id=identifier, after=after), timeout=WATCH_DEADLINE):
                after, failures = event.sequence, 0
                yield event
                if event.terminal:
                    return
        except grpc.RpcError as error:
            problem = from_rpc_error(error)
            if not isinstance(problem, Unavailable) or failures >= len(PAUSES):
                raise problem from None
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                continue
        # Away, or a hub that ends its streams because it stops: it will be back.
        time.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
        failures += 1
