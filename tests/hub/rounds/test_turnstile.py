"""Parts of messages pass the SuperLink's memory few at a time, and callers that say nothing more are given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from hub.rounds.turnstile import Turnstile
from protos.transport.bodies import LARGEST, whole_body

PUSH = {"type": "http", "path": "/v1/fleet/push-object"}
Answer = Callable[[bytes], Awaitable[bytes]]


def flower(answer: Answer) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await answer(await whole_body(receive, LARGEST) or b"")
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def call(app: Any, pieces: AsyncIterator[bytes], path: str = PUSH["path"]) -> tuple[int, list[bytes]]:
    """The status, and the pieces of the answer."""
    got: list[Message] = []

    async def receive() -> Message:
        async for piece in pieces:
            return {"type": "http.request", "body": piece, "more_body": piece != b""}
        await asyncio.Event().wait()
        raise AssertionError

    async def send(part: Message) -> None:
        got.append(part)

    await app({**PUSH, "path": path}, receive, send)
    return got[0]["status"], [part["body"] for part in got[1:]]


async def sent(*pieces: bytes, pause: float = 0) -> AsyncIterator[bytes]:
    """All of these, and the end."""
    for piece in (*pieces, b""):
        await asyncio.sleep(pause)
        yield piece


async def silent(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _doubled(body: bytes) -> bytes:
    return body * 2


async def test_requests_and_answers_pass_as_they_are(tmp_path: Path) -> None:
    app = Turnstile(flower(_doubled), tmp_path)
    for large in (b"", b"x" * 10, bytes(range(250)) * 4000):
        status, pieces = await call(app, sent(large[:1000], large[1000:]) if large[1000:] else sent(large or b"-"))
        assert (status, b"".join(pieces)) == (200, (large or b"-") * 2)
        assert max(map(len, pieces)) <= 256 << 10  # each waits until the caller took the one before
    assert not list(tmp_path.iterdir())


async def test_as_many_are_worked_at_as_it_has_turns(tmp_path: Path) -> None:
    """All others lie in files, and who asks for something else does not wait."""
    inside, most, go_on = 0, 0, asyncio.Event()

    async def answer(body: bytes) -> bytes:
        nonlocal inside, most
        inside, most = inside + 1, max(most, inside + 1)
        await go_on.wait()
        inside -= 1
        return body

    app = Turnstile(flower(answer), tmp_path, at_once=2)
    calls = [asyncio.create_task(call(app, sent(b"x" * 100_000))) for _ in range(20)]
    while inside < 2:
        await asyncio.sleep(0)
    other = asyncio.create_task(call(app, sent(b"ping"), path="/v1/fleet/pull-messages"))
    while inside < 3:
        await asyncio.sleep(0)
    go_on.set()
    assert {status for status, _ in await asyncio.gather(*calls, other)} == {200}
    assert most == 3


async def test_a_slow_caller_is_waited_for_and_a_silent_one_given_up(tmp_path: Path) -> None:
    """However long it takes in all, as long as something comes."""
    app = Turnstile(flower(_doubled), tmp_path, stalled=0.5)
    slow = call(app, sent(*[b"x"] * 40, pause=0.02))
    (status, pieces), (given_up, _) = await asyncio.gather(slow, call(app, silent(b"x")))
    assert (status, b"".join(pieces)) == (200, b"x" * 80)
    assert given_up == 408
    assert not list(tmp_path.iterdir())


async def test_who_does_not_take_its_answer_is_given_up(tmp_path: Path) -> None:
    app = Turnstile(flower(_doubled), tmp_path, stalled=0.05)
    pieces = sent(b"x")

    async def receive() -> Message:
        piece = await anext(pieces)
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    async def send(part: Message) -> None:
        if part["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await app(PUSH, receive, send)


async def test_a_request_that_is_too_large_is_refused(tmp_path: Path) -> None:
    app = Turnstile(flower(_doubled), tmp_path)
    status, _ = await call(app, sent(*[bytes(1 << 20)] * 65))
    assert status == 413
