"""How many bytes of messages each site may have waiting in the SuperLink's store (flwr 1.41, which takes whatever is pushed).

A task says how much its answer may have: the server app's request to push it carries that in a header. So a site may have no more
waiting than its last task allows, and nothing before it was given one. What was fetched or deleted since waits no more.
"""

from __future__ import annotations

import logging
import math
import time
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from flwr.supercore.object_store import ObjectStore
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protos.transport.parcels import LEAST_CHUNK
from trust.digests import digest_bytes

SITES: Final = "/v1/fleet/"
MOST_HEADER: Final = "coalition-most"
MOST_OBJECTS: Final = 10_000
"""That a site may have waiting, beside as many chunks as its bytes may have. Flower writes a row for each that a message names,
and nobody else writes meanwhile."""
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

    @property
    def most_objects(self) -> int:
        return MOST_OBJECTS + self.most // LEAST_CHUNK

    def has_room(self, sizes: Mapping[str, int]) -> bool:
        count = len(self._waiting.keys() | sizes.keys())
        more = sum(max(0, size - self._waiting.get(name, 0)) for name, size in sizes.items())
        return count <= self.most_objects and self.waiting + more <= self.most

    def take(self, sizes: Mapping[str, int]) -> None:
        """Count objects, also where Flower will not store them: then they are forgotten at the next look."""
        for name, size in sizes.items():
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
        sizes = _sizes(request, account)
        if sizes is None or not account.has_room(sizes):
            await account.look(scope["app"].state.linkstate_factory.state().object_store)
        if sizes is None or not account.has_room(sizes):
            said = f"This site has {account.waiting} bytes waiting here, and its task allows {account.most}"
            _log.warning("a site pushed too much, and is refused: %s (its key is %s)", said, _key(scope))
            more = f"{said}: {_bytes(request)} more are refused, and more than {account.most_objects} parts."
            await JSONResponse({"detail": more}, 413)(scope, receive, send)
            return
        account.take(sizes)
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


def _sizes(request: PushMessagesRequest | PushObjectRequest, account: Account) -> dict[str, int] | None:
    """What is to be stored, and the bytes that each takes; a message's names count with the first. None where that is more than
    the site may have at all: then they are not even read."""
    if isinstance(request, PushObjectRequest):
        return {request.object_id: _bytes(request)}
    size, most = _bytes(request), account.most_objects
    if size > account.most:
        return None
    names = list(islice(_names(request.message_object_trees), most + 1))
    return dict.fromkeys(names, 0) | {next(iter(names), ""): size} if len(names) <= most else None


def _bytes(request: PushMessagesRequest | PushObjectRequest) -> int:
    if isinstance(request, PushObjectRequest):
        return ROW + len(request.object_content)
    return NAMED * request.ByteSize()


def _names(trees: Iterable[ObjectTree]) -> Iterator[str]:
    """Of every node, also of those that are there twice: Flower looks at each."""
    left = list(trees)
    while left:
        tree = left.pop()
        yield tree.object_id
        left.extend(tree.children)


def _header(scope: Scope) -> int:
    value = _headers(scope).get(MOST_HEADER.encode(), b"")
    return int(value) if value.isdigit() else 0


def _key(scope: Scope) -> str:
    """The digest of the site's key, as its member's consent names it."""
    return digest_bytes(b64decode(_headers(scope).get(FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode(), b"")))


def _headers(scope: Scope) -> Mapping[bytes, Any]:
    return dict(scope["headers"])
