"""How many bytes of messages each site may have waiting in the SuperLink's store (flwr 1.41, which takes whatever is pushed).

A task says how much its answer may have: the server app's request to push it carries that in a header. So a site may have no more
waiting than its last task allows, and nothing before it was given one. What was fetched or deleted since waits no more.
"""

from __future__ import annotations

import logging
import math
import time
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import PushObjectRequest
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from flwr.supercore.object_store import ObjectStore
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trust.digests import digest_bytes

SITES: Final = "/v1/fleet/"
MOST_HEADER: Final = "coalition-most"
MOST_OBJECTS: Final = 10_000
NAMED: Final = 16
"""Bytes in the database for each byte of a message's own, which names its parts: rows and indexes."""
ROW: Final = 1 << 10
"""Bytes in the database for an object beside its content."""
EVERY: Final = 1.0  # seconds
_log = logging.getLogger(__name__)


class Account:
    """What one site pushed and what of it waits still, in bytes by object; `most` is what its last task allows."""

    def __init__(self) -> None:
        self.most = 0
        self._waiting: dict[str, int] = {}
        self._looked = -math.inf

    @property
    def waiting(self) -> int:
        return sum(self._waiting.values())

    def has_room(self, name: str, size: int) -> bool:
        before = self._waiting.get(name)
        count = len(self._waiting) + (before is None)
        return count <= MOST_OBJECTS and self.waiting - (before or 0) + size <= self.most

    def take(self, name: str, size: int) -> None:
        """Count an object, also where Flower will not store it: then it is forgotten at the next look."""
        self._waiting[name] = max(size, self._waiting.get(name, 0))

    async def look(self, store: ObjectStore) -> None:
        """Forget what is in the store no more. Not more often than once a second: it takes a question for each object."""
        if time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        known = tuple(self._waiting)
        for gone in await run_in_threadpool(lambda: [name for name in known if name not in store]):
            self._waiting.pop(gone, None)


class Allowance:
    """ASGI middleware within all layers of Flower's: who asks is authenticated, and the request is parsed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._accounts: dict[int, Account] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = scope.get("state", {}).get("protobuf_request")
        if isinstance(request, PushAppMessagesRequest):
            if await self._answered(scope, receive, send):  # Flower itself found that a server task asks
                self._allow((message.metadata.dst_node_id for message in request.messages_list), _header(scope))
        elif isinstance(request, PushMessagesRequest | PushObjectRequest) and scope["path"].startswith(SITES):
            await self._push(request, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _push(
        self, request: PushMessagesRequest | PushObjectRequest, scope: Scope, receive: Receive, send: Send
    ) -> None:
        account = self._accounts.setdefault(request.node.node_id, Account())
        name, size = _object(request)
        if not account.has_room(name, size):
            await account.look(scope["app"].state.linkstate_factory.state().object_store)
        if not account.has_room(name, size):
            said = f"This site has {account.waiting} bytes waiting here, and its task allows {account.most}"
            _log.warning("a site pushed too much, and is refused: %s (its key is %s)", said, _key(scope))
            await JSONResponse({"detail": f"{said}: {size} more are refused."}, 413)(scope, receive, send)
            return
        account.take(name, size)
        await self._app(scope, receive, send)

    def _allow(self, sites: Iterable[int], most: int) -> None:
        for site in sites:
            self._accounts.setdefault(site, Account()).most = most

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether Flower does what was asked."""
        well = False

        async def seen(part: Message) -> None:
            nonlocal well
            well = well or part.get("status") == 200
            await send(part)

        await self._app(scope, receive, seen)
        return well


def _object(request: PushMessagesRequest | PushObjectRequest) -> tuple[str, int]:
    """What is to be stored, and the bytes that it takes."""
    if isinstance(request, PushObjectRequest):
        return request.object_id, ROW + len(request.object_content)
    return next((tree.object_id for tree in request.message_object_trees), ""), NAMED * request.ByteSize()


def _header(scope: Scope) -> int:
    value = _headers(scope).get(MOST_HEADER.encode(), b"")
    return int(value) if value.isdigit() else 0


def _key(scope: Scope) -> str:
    """The digest of the site's key, as its member's consent names it."""
    return digest_bytes(b64decode(_headers(scope).get(FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode(), b"")))


def _headers(scope: Scope) -> Mapping[bytes, Any]:
    return dict(scope["headers"])
