"""Flower's SuperLink in a process of the hub's, with the door to its Control API locked.

`python -m hub.rounds.superlink_process SECRET_FILE [flower-superlink arguments]`. Fleet calls are signed by SuperNodes and
runtime calls carry a task's token (acquiring one is signed with the secret); everything else must carry the secret.
Behind the door, parts of messages lie in files while they travel (`turnstile`), who asks for messages waits until there are some
(`waiting`), and requests go past layers that do nothing for them (`layers`). Within all of it, no site leaves more waiting than
its task allows (`allowance`).
"""

from __future__ import annotations

import hmac
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.superlink import extensions
from flwr.superlink import main as superlink_app
from flwr.superlink.cli.flower_superlink import flower_superlink
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.guard import keep_secrets
from hub.rounds.allowance import Allowance
from hub.rounds.children import die_with_parent
from hub.rounds.control import SECRET_HEADER
from hub.rounds.housekeeping import keep_house
from hub.rounds.turnstile import Turnstile
from hub.rounds.waiting import WaitingRoom
from protos.transport.bodies import Whole
from protos.transport.layers import needed
from protos.transport.memory import settle

SELF_PROTECTED = ("/v1/fleet/", "/v1/runtime/")
OPEN = ("/health",)


class Lock:
    """Answers 403 to calls that are not a SuperNode's, not a task's, and do not carry the secret."""

    def __init__(self, app: ASGIApp, secret: bytes) -> None:
        self._app, self._secret = app, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _admits(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if scope["type"] == "http" and (path.startswith(SELF_PROTECTED) or path in OPEN):
            return True
        given = dict(scope["headers"]).get(SECRET_HEADER.encode(), b"")
        return hmac.compare_digest(given, self._secret)


def layered(layers: Callable[[], list[Middleware]]) -> Callable[[], list[Middleware]]:
    """Flower's layers as its app gets them from us: less what does nothing, with ours within."""
    return lambda: [*needed(layers()), Middleware(Allowance)]


def main(arguments: list[str]) -> None:
    """Serve until a signal."""
    secret = Path(arguments[0]).read_bytes()
    original = extensions.get_middleware

    def locked() -> tuple[Middleware, ...]:
        lock: Any = Lock
        bulky = Middleware(Turnstile, folder=Path(arguments[0]).parent)
        return (Middleware(lock, secret=secret), bulky, Middleware(Whole), Middleware(WaitingRoom), *original())

    superlink_app._get_middleware = layered(superlink_app._get_middleware)
    extensions.get_middleware = locked
    keep_house()
    settle()
    sys.argv = ["flower-superlink", *arguments[1:]]
    flower_superlink()


if __name__ == "__main__":
    die_with_parent()
    keep_secrets()
    main(sys.argv[1:])
