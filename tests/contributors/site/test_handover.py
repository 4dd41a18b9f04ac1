"""The SuperNode's worker and the training process hear of each other's work without looking for it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contributors.site.handover import ASK, DONE, Handover, Held

LONG = 60.0


def flower(*bodies: bytes, status: int = 200) -> ASGIApp:
    """Gives these answers, one after the other."""
    left = list(bodies)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": left.pop(0)})

    return app


async def ask(held: Held, path: str = ASK) -> bytes:
    body: list[bytes] = []

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    async def send(part: Message) -> None:
        body.append(part.get("body", b""))

    await held({"type": "http", "path": path}, receive, send)
    return b"".join(body)


async def until_it_waits(handover: Handover) -> None:
    while not handover._waiting:
        await asyncio.sleep(0)


async def test_a_question_for_tasks_is_answered_when_one_has_come() -> None:
    handover = Handover()
    held = Held(flower(b"", b"task"), handover, LONG)
    asking = asyncio.create_task(ask(held))
    await until_it_waits(handover)
    assert not asking.done()
    threading.Thread(target=handover.task_came).start()  # the worker is another thread
    assert await asking == b""
    assert await ask(held) == b"task"


async def test_a_task_that_came_while_flower_looked_is_not_waited_for() -> None:
    handover = Handover()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        handover.task_came()
        await flower(b"")(scope, receive, send)

    assert await ask(Held(app, handover, LONG)) == b""


async def test_a_question_is_answered_in_the_end_and_nobody_is_forgotten_waiting() -> None:
    handover = Handover()
    assert await ask(Held(flower(b""), handover, 0.001)) == b""
    assert not handover._waiting


@pytest.mark.parametrize(("path", "status"), [(ASK, 401), ("/v1/runtime/pull-object", 200)])
async def test_whoever_flower_refuses_and_other_questions_wait_for_nothing(path: str, status: int) -> None:
    assert await ask(Held(flower(b"", status=status), Handover(), LONG), path) == b""


async def test_the_worker_wakes_when_the_training_process_is_done() -> None:
    handover = Handover()
    began = time.monotonic()
    waiting = asyncio.create_task(asyncio.to_thread(handover.wait_for_answer, LONG))
    assert await ask(Held(flower(b"noted"), handover), DONE) == b"noted"
    await waiting
    assert time.monotonic() - began < LONG / 2
    handover.wait_for_answer(0)  # that answer is told once


async def test_a_refused_end_of_a_task_wakes_nobody() -> None:
    handover = Handover()
    await ask(Held(flower(b"", status=403), handover), DONE)
    assert not handover._answered.is_set()
