"""What a site may have waiting at the SuperLink is counted by all that its messages name, before Flower writes any of it."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from types import SimpleNamespace
from typing import Any

from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from starlette.types import Receive, Scope, Send

from hub.rounds.allowance import MOST_HEADER, MOST_OBJECTS, Allowance
from protos.transport.parcels import LEAST_CHUNK

SITE = Node(node_id=7)


class Everything:
    def __contains__(self, name: str) -> bool:
        return True


class SuperLink:
    """Flower's app within the layer: what came through; its store has all that was ever named."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self._layer = Allowance(self._app)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.came.append(scope["state"]["protobuf_request"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def status(self, request: Any, most: int = 0) -> int:
        statuses: list[int] = []

        async def send(part: Any) -> None:
            statuses.extend([part["status"]] if "status" in part else [])

        async def receive() -> Any:
            raise AssertionError("the request was read before")

        links = SimpleNamespace(state=lambda: SimpleNamespace(object_store=Everything()))
        scope = {
            "type": "http",
            "path": "/v1/fleet/push",
            "state": {"protobuf_request": request},
            "headers": [
                (MOST_HEADER.encode(), str(most).encode()),
                (FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode(), b64encode(b"key")),
            ],
            "app": SimpleNamespace(state=SimpleNamespace(linkstate_factory=links)),
        }
        asyncio.run(self._layer(scope, receive, send))
        return statuses[0]

    def allow(self, most: int) -> None:
        task = Message(metadata=Metadata(dst_node_id=SITE.node_id))
        assert self.status(PushAppMessagesRequest(messages_list=[task]), most) == 200


def announced(parts: int, most_of_one: int = 5000) -> PushMessagesRequest:
    """A message of a root, arrays, and so many parts within them."""
    children = [ObjectTree(object_id=f"{number:064x}") for number in range(parts)]
    arrays = [
        ObjectTree(object_id=f"array-{at}", children=children[at : at + most_of_one])
        for at in range(0, parts, most_of_one)
    ]
    return PushMessagesRequest(node=SITE, message_object_trees=[ObjectTree(object_id="root", children=arrays)])


def test_a_message_counts_as_all_the_objects_that_it_names() -> None:
    link = SuperLink()
    link.allow(LEAST_CHUNK * 100)
    room = MOST_OBJECTS + 100
    assert link.status(announced(room)) == 413
    assert len(link.came) == 1  # Flower has seen the task alone
    assert link.status(announced(room - 4)) == 200  # and a root and three arrays
    assert link.status(PushObjectRequest(node=SITE, object_id=f"{1:064x}", object_content=b"one of them")) == 200
    assert link.status(PushObjectRequest(node=SITE, object_id="another", object_content=b"")) == 413


def test_a_name_that_is_said_again_and_again_counts_each_time() -> None:
    link = SuperLink()
    link.allow(LEAST_CHUNK * 100)
    often = [ObjectTree(object_id="same")] * (MOST_OBJECTS + 101)
    assert link.status(PushMessagesRequest(node=SITE, message_object_trees=often)) == 413


def test_an_update_of_fifty_gigabytes_has_as_many_parts_as_it_needs() -> None:
    link = SuperLink()
    link.allow(50 << 30)
    assert link.status(announced((50 << 30) // (5 << 20))) == 200


def test_before_its_first_task_a_site_may_say_nothing() -> None:
    assert SuperLink().status(announced(0)) == 413
