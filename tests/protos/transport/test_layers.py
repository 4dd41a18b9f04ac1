"""Requests go past the layers of Flower's servers that would only hand them on, and through all others, in their order."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.superlink import main as superlink
from flwr.supernode import main as supernode
from flwr.supernode.nodestate import NodeStateFactory
from httpx import ASGITransport, AsyncClient
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protos.transport.layers import IDLE, needed

CONTROL = [
    "ControlSensitiveResponseMiddleware",
    "ControlAuthenticationMiddleware",
    "ControlLicenseMiddleware",
    "ControlEventLogMiddleware",
]


def layer(name: str, passed: list[str]) -> Middleware:
    class Layer:
        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            passed.append(name)
            await self._app(scope, receive, send)

    Layer.__name__ = name
    return Middleware(Layer)


async def passed_by(path: str, kind: str = "http") -> list[str]:
    """The layers that a request to the path goes through."""
    passed: list[str] = []
    names = [*CONTROL, "BaseHTTPMiddleware", "NodeAuthMiddleware", "FleetEventLogMiddleware", "AnotherMiddleware"]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append("app")

    for each in reversed(needed([layer(name, passed) for name in names])):
        app = each.cls(app, *each.args, **each.kwargs)

    async def receive() -> Message:
        raise AssertionError("nobody reads")

    async def send(part: Message) -> None:
        raise AssertionError("nobody answers")

    await app({"type": kind, "path": path}, receive, send)
    return passed


@pytest.mark.parametrize(
    ("path", "layers"),
    [
        ("/v1/fleet/pull-object", ["BaseHTTPMiddleware", "NodeAuthMiddleware", "AnotherMiddleware"]),
        ("/v1/runtime/pull-object", ["BaseHTTPMiddleware", "AnotherMiddleware"]),
    ],
)
async def test_a_sites_request_meets_what_authenticates_it_and_whatever_we_do_not_know(
    path: str, layers: list[str]
) -> None:
    assert await passed_by(path) == [*layers, "app"]


@pytest.mark.parametrize("path", ["/v1/control/start-run", "/v1/fleet", "/v1/control/../fleet/pull-object", "/health"])
async def test_every_other_request_meets_every_layer(path: str) -> None:
    assert len(await passed_by(path)) == 9


async def test_what_is_no_request_meets_every_layer() -> None:
    assert len(await passed_by("/v1/fleet/pull-object", "websocket")) == 9


def test_flower_still_has_every_layer_that_is_named_and_they_are_of_its_own() -> None:
    """Another version may do more in one of them: then look again at what they do."""
    served = [*superlink._get_middleware(), *supernode.app.user_middleware]
    names = {each.cls.__name__: each.cls for each in served if each.cls is not BaseHTTPMiddleware}
    assert set(IDLE) <= set(names)
    assert all(names[name].__module__.startswith("flwr.") for name in IDLE)


def apps_of_flower() -> list[FastAPI]:
    apps = [superlink.create_app(), supernode.create_app(NodeStateFactory(ObjectStoreFactory()))]
    for app in apps:
        app.state.superexec_auth_secret = b"secret"
    return apps


async def answers(app: FastAPI, path: str, content: bytes, kind: str) -> tuple[int, bytes]:
    async with AsyncClient(transport=ASGITransport(app), base_url="http://flower") as client:
        answer = await client.post(path, content=content, headers={"content-type": kind})
        return answer.status_code, answer.content


@pytest.mark.parametrize(
    ("path", "content", "kind", "expected"),
    [
        ("/v1/fleet/pull-object", b"", PROTOBUF_MEDIA_TYPE, {401, 404}),  # unsigned; a SuperNode has no such call
        ("/v1/runtime/pull-object", b"", PROTOBUF_MEDIA_TYPE, {401}),  # without a task's token
        ("/v1/runtime/acquire-task", b"", PROTOBUF_MEDIA_TYPE, {401}),
        ("/v1/runtime/pull-object", b"\xff", PROTOBUF_MEDIA_TYPE, {400}),
        ("/v1/fleet/push-object", b"", "text/plain", {415, 404}),
        ("/v1/runtime/unknown", b"", PROTOBUF_MEDIA_TYPE, {404}),
    ],
)
async def test_whom_flower_refuses_is_refused_as_before(
    path: str, content: bytes, kind: str, expected: set[int]
) -> None:
    for app in apps_of_flower():
        by_itself = await answers(app, path, content, kind)
        app.middleware_stack = None
        app.user_middleware[:] = needed(app.user_middleware)
        assert await answers(app, path, content, kind) == by_itself
        assert by_itself[0] in expected
