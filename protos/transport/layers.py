"""The layers of a Flower server, less those that a request has no use for (measured for flwr 1.41).

Flower wraps its apps in layers that hand most requests on untouched; each costs a request a task, two queues and some copies
even then. What is named here is what those layers' own code says that they do: one with another name is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

SITES, TASKS = "/v1/fleet/", "/v1/runtime/"
IDLE: Final[Mapping[str, tuple[str, ...]]] = {
    "ControlSensitiveResponseMiddleware": (SITES, TASKS),  # these four look at calls of the Control API alone
    "ControlAuthenticationMiddleware": (SITES, TASKS),
    "ControlLicenseMiddleware": (SITES, TASKS),
    "ControlEventLogMiddleware": (SITES, TASKS),
    "NodeAuthMiddleware": (TASKS,),  # it looks at the SuperNodes' calls alone
    "FleetEventLogMiddleware": (SITES, TASKS),  # we configure no event log
    "RuntimeTracingMiddleware": (SITES, TASKS),  # we never turn Flower's tracing on
}
"""Where a request's path begins with one of these, the layer of that name does nothing."""


class Past:
    """ASGI middleware: a layer of Flower's, which requests to `idle` paths go past."""

    def __init__(self, app: ASGIApp, layer: Middleware, idle: tuple[str, ...]) -> None:
        self._app, self._idle = app, idle
        self._layer = layer.cls(app, *layer.args, **layer.kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        past = scope["type"] == "http" and scope["path"].startswith(self._idle)
        await (self._app if past else self._layer)(scope, receive, send)


def needed(layers: Iterable[Middleware]) -> list[Middleware]:
    """The same layers in the same order; requests go past those that would do nothing."""
    return [_past(layer) for layer in layers]


def _past(layer: Middleware) -> Middleware:
    idle = IDLE.get(getattr(layer.cls, "__name__", ""))
    return Middleware(Past, layer=layer, idle=idle) if idle else layer
