"""Requests reach an app in one piece, or not at all."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope, Send

from protos.transport.bodies import Whole

PIECES = [b"an ", b"upd", b"ate"]


async def ask(pieces: list[bytes], largest: int) -> tuple[list[bytes], int, int]:
    """What the app got, the status that the caller got, and how many pieces were left unread."""
    got: list[bytes] = []
    status: list[int] = []
    left = list(pieces)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        part = await receive()
        assert not part["more_body"]
        got.append(part["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(part: Message) -> None:
        status.extend([part["status"]] if "status" in part else [])

    await Whole(app, largest)({"type": "http"}, receive, send)
    return got, status[0], len(left)


async def test_an_app_gets_a_request_in_one_piece() -> None:
    assert await ask(PIECES, 9) == ([b"an update"], 200, 0)


async def test_a_request_that_is_too_large_is_refused_before_it_is_read() -> None:
    assert await ask(PIECES, 5) == ([], 413, 1)


async def test_a_caller_that_says_nothing_more_is_given_up() -> None:
    status: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the request never was whole")

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(part: Message) -> None:
        status.extend([part["status"]] if "status" in part else [])

    await Whole(app, stalled=0.01)({"type": "http"}, receive, send)
    assert status == [408]
