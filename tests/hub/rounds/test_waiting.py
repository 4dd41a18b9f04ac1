"""Who asks the SuperLink for messages hears when there are some, and not before."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullAppMessagesRequest, PushAppMessagesRequest
from starlette.types import Message as Part
from starlette.types import Receive, Scope, Send

from hub.rounds.waiting import SERVER_PULL, SERVER_PUSH, SITE_PULL, SITE_PUSH, WaitingRoom

PATIENT = {SITE_PULL: 60.0, SERVER_PULL: 60.0}
IMPATIENT = {SITE_PULL: 0.0, SERVER_PULL: 0.0}
STRANGER = 666


class Post:
    """Stands where Flower's app does: mailboxes by node. `asked` tells of every pull that reached it."""

    def __init__(self) -> None:
        self._boxes: dict[int, list[bytes]] = defaultdict(list)
        self.asked: asyncio.Queue[int] = asyncio.Queue()
        self.delivered = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, status, answer = (await receive())["body"], 200, b""
        match scope["path"]:
            case "/v1/runtime/push-messages":
                for message in PushAppMessagesRequest.FromString(body).messages_list:
                    self._boxes[message.metadata.dst_node_id].append(b"task")
            case "/v1/fleet/push-messages":
                self._boxes[SUPERLINK_NODE_ID].append(b"reply")
            case "/v1/runtime/pull-messages":
                answer = self._taken(SUPERLINK_NODE_ID)
            case "/v1/fleet/pull-messages":
                node = PullMessagesRequest.FromString(body).node.node_id
                status, answer = (401, b"") if node == STRANGER else (200, self._taken(node))
        if not answer and "pull" in scope["path"]:
            await self.gate.wait()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    def _taken(self, node: int) -> bytes:
        self.asked.put_nowait(node)
        answer = b"".join(self._boxes.pop(node, ()))
        self.delivered += bool(answer)
        return answer


class Caller:
    """Asks a room; `hang_up` cuts its connection."""

    def __init__(self, room: WaitingRoom) -> None:
        self._room, self._gone = room, asyncio.Event()

    def hang_up(self) -> None:
        self._gone.set()

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        given: list[Part] = [{"type": "http.request", "body": body, "more_body": False}]
        parts: list[Part] = []

        async def receive() -> Part:
            if given:
                return given.pop()
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(part: Part) -> None:
            parts.append(part)

        await self._room({"type": "http", "path": path, "headers": []}, receive, send)
        return parts[0]["status"], parts[1]["body"]


def pull(node: int) -> bytes:
    return PullMessagesRequest(node=Node(node_id=node)).SerializeToString()


def push(*nodes: int) -> bytes:
    messages = [Message(metadata=Metadata(dst_node_id=node)) for node in nodes]
    return PushAppMessagesRequest(messages_list=messages).SerializeToString()


def reply(node: int) -> bytes:
    return PushMessagesRequest(node=Node(node_id=node), messages_list=[Message()]).SerializeToString()


PULL_REPLIES = PullAppMessagesRequest().SerializeToString()


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    async with asyncio.timeout(30):
        yield Post()


async def test_a_site_hears_of_its_task_once_the_server_app_has_pushed_all_of_it(post: Post) -> None:
    room = WaitingRoom(post, PATIENT)
    site, other = (asyncio.create_task(Caller(room).ask(SITE_PULL, pull(node))) for node in (7, 8))
    assert {await post.asked.get(), await post.asked.get()} == {7, 8}
    assert await Caller(room).ask(SERVER_PUSH, push(7)) == (200, b"")
    assert post.asked.empty(), "the parts of the message are still on their way"
    server = asyncio.create_task(Caller(room).ask(SERVER_PULL, PULL_REPLIES))
    assert await site == (200, b"task")
    assert not other.done()
    await Caller(room).ask(SITE_PUSH, reply(7))
    assert not server.done()
    again = asyncio.create_task(Caller(room).ask(SITE_PULL, pull(7)))
    assert await server == (200, b"reply")
    for task in (other, again):
        task.cancel()


async def test_a_message_that_came_while_flower_was_asked_is_not_slept_through(post: Post) -> None:
    room = WaitingRoom(post, PATIENT)
    post.gate.clear()
    site = asyncio.create_task(Caller(room).ask(SITE_PULL, pull(7)))
    await post.asked.get()
    await Caller(room).ask(SERVER_PUSH, push(7))
    server = asyncio.create_task(Caller(room).ask(SERVER_PULL, PULL_REPLIES))
    await post.asked.get()
    post.gate.set()
    assert await site == (200, b"task")
    server.cancel()


async def test_an_empty_answer_waits_only_so_long_and_a_refusal_not_at_all(post: Post) -> None:
    assert await Caller(WaitingRoom(post, IMPATIENT)).ask(SITE_PULL, pull(7)) == (200, b"")
    assert await Caller(WaitingRoom(post, PATIENT)).ask(SITE_PULL, pull(STRANGER)) == (401, b"")


async def test_who_is_refused_says_nothing_in_anothers_name(post: Post) -> None:
    """That all parts of a message are there follows from its sender's next question alone, which Flower proves."""
    room = WaitingRoom(post, PATIENT)
    server = asyncio.create_task(Caller(room).ask(SERVER_PULL, PULL_REPLIES))
    await post.asked.get()
    await Caller(room).ask(SITE_PUSH, reply(STRANGER))
    assert (await Caller(room).ask(SITE_PULL, pull(STRANGER)))[0] == 401
    for _ in range(20):  # turns of the loop, in which the server app would ask again
        await asyncio.sleep(0)
    assert post.asked.empty()
    assert not server.done()
    server.cancel()


async def test_a_second_question_of_a_site_sends_its_first_one_away(post: Post) -> None:
    room = WaitingRoom(post, PATIENT)
    first = asyncio.create_task(Caller(room).ask(SITE_PULL, pull(7)))
    await post.asked.get()
    second = asyncio.create_task(Caller(room).ask(SITE_PULL, pull(7)))
    assert await first == (200, b"")
    assert not second.done()
    second.cancel()


async def test_nothing_is_delivered_to_a_caller_that_hung_up(post: Post) -> None:
    room, caller = WaitingRoom(post, PATIENT), None
    caller = Caller(room)
    asked = asyncio.create_task(caller.ask(SITE_PULL, pull(7)))
    await post.asked.get()
    caller.hang_up()
    await asked
    await Caller(room).ask(SERVER_PUSH, push(7))
    server = asyncio.create_task(Caller(room).ask(SERVER_PULL, PULL_REPLIES))
    await post.asked.get()
    assert post.delivered == 0
    assert await Caller(room).ask(SITE_PULL, pull(7)) == (200, b"task")
    server.cancel()


async def test_other_calls_pass_through(post: Post) -> None:
    assert await Caller(WaitingRoom(post, PATIENT)).ask("/v1/fleet/push-object", b"content") == (200, b"")
