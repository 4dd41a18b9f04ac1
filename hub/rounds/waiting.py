"""Answers of the SuperLink that wait for news, so that nobody has to ask again and again (measured for flwr 1.41).

A SuperNode asks for messages and the server app for replies; Flower says at once when there are none, and they sleep before
they ask again. Here such an empty answer stays here until there is news for who asked, and Flower is then asked anew.
Whoever pushed a message is known to have pushed all parts of it when it next asks for messages itself: then its receivers hear.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protos.transport.bodies import given

SERVER_PULL, SERVER_PUSH = "/v1/runtime/pull-messages", "/v1/runtime/push-messages"
SITE_PULL, SITE_PUSH = "/v1/fleet/pull-messages", "/v1/fleet/push-messages"
HOLD: Final[Mapping[str, float]] = {SITE_PULL: 15.0, SERVER_PULL: 1.0}
"""Seconds that an empty answer waits: below Flower's timeout of 30. The server app looks meanwhile which sites came back."""


class WaitingRoom:
    """ASGI middleware around Flower's app, behind `Whole`: requests come in one piece. Only what Flower itself answers well is
    held: whoever it refuses hears at once.

    One answer a party waits: a second question of the same sends the first away. Nothing is asked anew for a caller that hung up,
    for Flower would count the message as delivered.
    """

    def __init__(self, app: ASGIApp, hold: Mapping[str, float] = HOLD) -> None:
        self._app, self._hold = app, hold
        self._news: Counter[int] = Counter()
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._pushed: dict[int, set[int]] = {}
        self._closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._let_go_on_signals(asyncio.get_running_loop())
        path = scope.get("path")
        if scope["type"] != "http" or path not in (SERVER_PULL, SERVER_PUSH, SITE_PULL, SITE_PUSH):
            await self._app(scope, receive, send)
            return
        body = (await receive())["body"]
        if path in self._hold:
            answer = await self._pull(scope, body, receive)
        else:
            answer = await self._ask(scope, body)
            if _status(answer) == 200:
                pusher, receivers = _parties(path, body)
                self._pushed.setdefault(pusher, set()).update(receivers)
        for part in answer:
            await send(part)

    async def _pull(self, scope: Scope, body: bytes, receive: Receive) -> list[Message]:
        """Flower's answer, as soon as it has something in it or the time is over."""
        who = _puller(scope["path"], body)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._hold[scope["path"]]
        gone = asyncio.ensure_future(_hung_up(receive))
        try:
            while True:
                seen = self._news[who]
                answer = await self._ask(scope, body)
                if _status(answer) != 200:
                    return answer
                for receiver in self._pushed.pop(who, ()):  # who Flower refuses says nothing for another
                    self._tell(receiver)
                if _content(answer):
                    return answer
                if self._news[who] == seen and not await self._wait(who, until - loop.time(), gone):
                    return answer
        finally:
            gone.cancel()

    async def _wait(self, who: int, seconds: float, gone: asyncio.Future[None]) -> bool:
        """Whether there is news for `who` before the time is over and while it is there."""
        self._send_away(who)
        if seconds <= 0 or self._closing:
            return False
        news: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[who] = news
        try:
            either: set[asyncio.Future[Any]] = {news, gone}
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return news.done() and news.result() and not gone.done()
        finally:
            if self._waiting.get(who) is news:
                del self._waiting[who]

    def _tell(self, who: int) -> None:
        self._news[who] += 1
        self._send_away(who, news=True)

    def _send_away(self, who: int, *, news: bool = False) -> None:
        waiting = self._waiting.pop(who, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(news)

    async def _ask(self, scope: Scope, body: bytes) -> list[Message]:
        """Flower's whole answer to this request, which may be asked more than once."""
        answer: list[Message] = []

        async def send(part: Message) -> None:
            answer.append(part)

        await self._app({**scope, "state": dict(scope.get("state", {}))}, given(body), send)
        return answer

    def _let_go_on_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """A server that is told to end waits for its answers: then none of them waits for news any more."""
        if threading.current_thread() is not threading.main_thread():
            return

        def close() -> None:
            self._closing = True
            for who in list(self._waiting):
                self._send_away(who)

        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)

            def handle(signum: int, frame: FrameType | None, before: object = before) -> None:
                loop.call_soon_threadsafe(close)
                if callable(before):
                    before(signum, frame)

            signal.signal(number, handle)


def _puller(path: str, body: bytes) -> int:
    """Who asks, as the request says: Flower checks that before it answers well."""
    if path == SERVER_PULL:
        return int(SUPERLINK_NODE_ID)
    with suppress(DecodeError):
        return int(PullMessagesRequest.FromString(body).node.node_id)
    return 0


def _parties(path: str, body: bytes) -> tuple[int, set[int]]:
    """Who pushed messages, and for whom."""
    if path == SITE_PUSH:
        return PushMessagesRequest.FromString(body).node.node_id, {SUPERLINK_NODE_ID}
    pushed = PushAppMessagesRequest.FromString(body)
    return SUPERLINK_NODE_ID, {message.metadata.dst_node_id for message in pushed.messages_list}


def _status(answer: list[Message]) -> int:
    return next((part["status"] for part in answer if part["type"] == "http.response.start"), 500)


def _content(answer: list[Message]) -> bool:
    return any(part.get("body") for part in answer if part["type"] == "http.response.body")


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
