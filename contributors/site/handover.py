"""News between the SuperNode's worker and the training process, so that neither has to look again and again (flwr 1.41).

The worker is a thread that sleeps between its looks for an answer; the training process asks for a task over HTTP, and every
such question costs both processes some milliseconds. Here an empty answer waits until a whole task has come, and the worker's
sleep ends when the training process has said that its task is done: by then all parts of the answer are there.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASK, DONE = "/v1/runtime/acquire-task", "/v1/runtime/push-task-output"
HOLD: Final = 1.0
"""Seconds that an empty answer waits; so long a SuperNode that is told to end may have to wait for it."""


class Handover:
    """What both sides share; `task_came` and `wait_for_answer` are the worker's."""

    def __init__(self) -> None:
        self._came = 0
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._answered = threading.Event()

    def task_came(self) -> None:
        """A task and all parts of it are there."""
        with self._lock:
            self._came += 1
            waiting, self._waiting = self._waiting, []
        for loop, news in waiting:
            loop.call_soon_threadsafe(news.set)

    def wait_for_answer(self, seconds: float) -> None:
        """Until the training process is done with a task, for so long at the most."""
        if self._answered.wait(seconds):
            self._answered.clear()

    def answer_came(self) -> None:
        self._answered.set()

    @property
    def came(self) -> int:
        """How many tasks came so far."""
        return self._came

    async def wait_for_task(self, seen: int, seconds: float) -> None:
        """Until more tasks came than were `seen`, for so long at the most."""
        news = asyncio.Event()
        waiting = (asyncio.get_running_loop(), news)
        with self._lock:
            if self._came > seen:
                return
            self._waiting.append(waiting)
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)


class Held:
    """ASGI middleware around the SuperNode's app. What Flower refuses is answered at once; after a wait the empty answer is given
    as it is, and who asked asks again: no task is given to a caller that hung up meanwhile."""

    def __init__(self, app: ASGIApp, handover: Handover, hold: float = HOLD) -> None:
        self._app, self._handover, self._hold = app, handover, hold

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if scope["type"] != "http" or path not in (ASK, DONE):
            await self._app(scope, receive, send)
            return
        seen = self._handover.came
        answer: list[Message] = []

        async def keep(part: Message) -> None:
            answer.append(part)

        await self._app(scope, receive, keep)
        well = any(part.get("status") == 200 for part in answer)
        if path == ASK and well and not any(part.get("body") for part in answer):
            await self._handover.wait_for_task(seen, self._hold)
        if path == DONE and well:
            self._handover.answer_came()
        for part in answer:
            await send(part)
