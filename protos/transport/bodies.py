"""HTTP requests in one piece, for ASGI apps behind many layers.

Flower's servers hand every 64 KiB of a request through each of their layers, each by a task and a queue: for updates that is
most of what a SuperLink does (flwr 1.41). They read all of it before they look at it in any case.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST = 64 << 20
"""Bytes of a request: a message's parts have 16 MiB."""
STALLED = 120.0
"""Seconds without a byte from a caller after which it is given up: how many bytes there are plays no part."""


class Whole:
    """ASGI middleware: the app gets each request in one piece; one that is too large is refused with 413, unread, and one of
    which nothing more comes with 408."""

    def __init__(self, app: ASGIApp, largest: int = LARGEST, stalled: float = STALLED) -> None:
        self._app, self._largest, self._stalled = app, largest, stalled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 413
        try:
            body = await whole_body(receive, self._largest, self._stalled)
        except TimeoutError:
            body, status = None, 408
        if body is None:
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, given(body, receive), send)


async def whole_body(receive: Receive, largest: int, stalled: float = STALLED) -> bytes | None:
    """A request's body; None when it has more than `largest` bytes, or the caller hung up. Raises `TimeoutError` after so many
    seconds without a byte."""
    pieces: list[bytes] = []
    size = 0
    while True:
        async with asyncio.timeout(stalled):
            part = await receive()
        pieces.append(part.get("body", b""))
        size += len(pieces[-1])
        if part["type"] != "http.request" or size > largest:
            return None
        if not part.get("more_body"):
            return b"".join(pieces)


def given(body: bytes, after: Receive | None = None) -> Receive:
    """Gives the body, and then what `after` gives; without it nothing more: the caller stays."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        if after is not None:
            return await after()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")

    return receive
