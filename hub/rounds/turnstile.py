"""Parts of messages on their way through the SuperLink lie in files: in its memory are as many as it works at, however many sites
there are and however slow their links.

Flower holds a request while it comes in and an answer while it goes out (flwr 1.41), each as several copies: of 16 MiB and more,
for as long as a link takes. And it waits for ever for a caller that says nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protos.transport.bodies import LARGEST, STALLED, given

BULKY: Final = tuple(f"/v1/{api}/{call}-object" for api in ("fleet", "runtime") for call in ("push", "pull"))
AT_ONCE = 2
"""Requests that are worked at."""
SMALL = 64 << 10
PIECE = 256 << 10


class Turnstile:
    """ASGI middleware around Flower's app: requests and answers with parts of messages lie in files in `folder` meanwhile."""

    def __init__(self, app: ASGIApp, folder: Path, at_once: int = AT_ONCE, stalled: float = STALLED) -> None:
        self._app, self._folder, self._stalled = app, folder, stalled
        self._turns = asyncio.Semaphore(at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in BULKY:
            await self._app(scope, receive, send)
            return
        try:
            async with self._taken_in(receive) as request, self._worked_at(scope, request, receive) as (head, answer):
                await self._give_out(head, answer, send)
        except _Refused as refused:
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": refused.status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    @asynccontextmanager
    async def _taken_in(self, receive: Receive) -> AsyncIterator[_File]:
        with self._file() as file:
            while True:
                try:
                    async with asyncio.timeout(self._stalled):
                        part = await receive()
                except TimeoutError:
                    raise _Refused(408) from None
                file.write(part.get("body", b""))
                if part["type"] != "http.request" or file.tell() > LARGEST:
                    raise _Refused(413)
                if not part.get("more_body"):
                    break
            yield file

    @asynccontextmanager
    async def _worked_at(self, scope: Scope, request: _File, receive: Receive) -> AsyncIterator[tuple[Message, _File]]:
        """Flower's answer: what it begins with, and its body."""
        head: list[Message] = []
        with self._file() as file:

            async def send(part: Message) -> None:
                if part["type"] == "http.response.start":
                    head.append(part)
                else:
                    file.write(part.get("body", b""))

            async with self._turns:
                request.seek(0)
                await self._app(scope, given(request.read(), receive), send)
            request.close()
            yield head[0], file

    async def _give_out(self, head: Message, answer: _File, send: Send) -> None:
        """Raises `TimeoutError` where nobody takes it, which ends the connection."""
        left = answer.tell()
        answer.seek(0)
        await send(head)
        while True:
            piece = answer.read(PIECE)
            left -= len(piece)
            async with asyncio.timeout(self._stalled):
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
            if left <= 0:
                return

    def _file(self) -> _File:
        return SpooledTemporaryFile(SMALL, dir=str(self._folder))


_File = SpooledTemporaryFile[bytes]


class _Refused(Exception):
    """The caller gets this status and no more."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
