"""Authenticates and authorises calls: identity from the verified certificate, rights from the table of `hub.calls`."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, Self, TypeAlias

import grpc
from grpc_status import rpc_status

from hub.acts import act
from hub.callers import Caller, Presented, RoleOf, caller, calling
from hub.calls import PREFIX, may_call
from hub.rates import Rates
from protos.transport.errors import to_status
from trust.errors import Denied, Exhausted, Invalid, Problem, Unavailable
from trust.presented import read_client_certificate

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_log = logging.getLogger(__name__)

MAX_DEADLINE = 900.0
"""Seconds that a call with one question and one answer may take."""
LATE = 0.5, 1.0
"""Seconds, at least and at most, after which a caller hears that it calls too often: one that asks again at once costs the others
less, and its many do not ask again at the same moment."""
CALLER = "coalition-caller-bin"
"""The metadata in which one process of the hub passes the caller's certificate on to another (`hub.forwarding`)."""
Issuers = Callable[[], frozenset[str]]
"""Key identifiers of the authorities that are believed now: TLS asked when the connection was made, perhaps long ago."""


class Access(grpc.aio.ServerInterceptor):
    """Authenticates and authorises every call and every message of a stream, and turns Problems into rich statuses."""

    def __init__(self, hub: str, role_of: RoleOf, issuers: Issuers, rates: Rates | None = None) -> None:
        self._hub, self._role_of, self._issuers, self._rates = hub, role_of, issuers, rates

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(details)
        if handler is None:
            return handler
        single = not (handler.request_streaming or handler.response_streaming)
        return _wrap(
            handler,
            lambda context: self._admit(details.method, context, single),
            lambda context: self._authorise(details.method, context),
        )

    def _admit(self, method: str, context: Any, single: bool) -> None:
        """For the beginning of a call. Raises `Denied`; `Invalid` for a question without deadline; `Exhausted`."""
        try:
            self._authorise(method, context)
        except Denied:
            self._spend(calling.get(None), context)
            raise
        self._spend(caller(), context)
        remaining = context.time_remaining()
        if single and method.startswith(PREFIX) and (remaining is None or remaining > MAX_DEADLINE):
            raise Invalid(f"A call needs a deadline of at most {MAX_DEADLINE:g} seconds.", "Set one.")

    def _spend(self, who: Caller | None, context: Any) -> None:
        """A call counts, refused or not: for its member, or for the name on a certificate that stands for nobody now."""
        if self._rates is None:
            return
        if who is None:
            party = read_client_certificate(_certificate(context)).party
            self._rates.spend(f"{party.kind} {party.name}")
        elif who.kind == "member":
            self._rates.spend(who.id)

    def _authorise(self, method: str, context: Any) -> None:
        """Raises `Denied`; sets `caller()`."""
        who = self._identify(context)
        calling.set(who)
        if not may_call(who, method):
            what = f"A {who.role}" if who.kinds is None else f"A delegate for {', '.join(sorted(who.kinds))}"
            whom = "the core team" if who.kinds is None else f"{who.id}, in whose name it speaks"
            raise Denied(f"{what} may not {act(method)}.", f"Ask {whom}.")

    def _identify(self, context: Any) -> Caller:
        shown = read_client_certificate(_certificate(context))
        connected = context.auth_context()["x509_pem_cert"]
        if not self._issuers().issuperset({shown.issuer, *(read_client_certificate(pem).issuer for pem in connected)}):
            raise Denied(
                "Your certificate is of an authority that was retired.", "Connect anew; if that fails, enrol again."
            )
        if shown.expires < dt.datetime.now(dt.UTC):
            raise Denied(f"Your certificate expired at {shown.expires:%Y-%m-%d %H:%M} UTC.", "Ask for an invitation.")
        party = shown.party
        if party.hub != self._hub:
            raise Denied(f"The certificate was issued by the hub {party.hub!r}, and this is {self._hub!r}.")
        if party.kind == "hub":
            raise Denied("A process of the hub calls for others only.")
        presented = Presented(party.kind, party.name, shown.keyid, shown.issued)
        return replace(self._role_of(presented), certificate=presented)


def _certificate(context: Any) -> bytes:
    """The caller's: of the connection, or what another process of the hub, which verified it, passes on."""
    certificates = context.auth_context().get("x509_pem_cert", [])
    if len(certificates) != 1:
        raise Denied("The call carries no client certificate.", "Enrol first.")
    if read_client_certificate(certificates[0]).party.kind != "hub":
        return bytes(certificates[0])
    passed = [value for key, value in context.invocation_metadata() or () if key == CALLER]
    if len(passed) != 1:
        raise Denied("A process of the hub passed on a call without its caller.")
    return bytes(passed[0])


class Answers(grpc.aio.ServerInterceptor):
    """For the enrolment listener, which knows no callers: only turns Problems into rich statuses."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(details)
        return handler if handler is None else _wrap(handler, lambda context: None, lambda context: None)


def _wrap(handler: Any, admit: Callable[[Any], None], authorise: Callable[[Any], None]) -> Handler:
    """The same handler behind admission, authorisation of every message, and with Problems as google.rpc.Status."""
    if handler.response_streaming:
        behaviour = handler.stream_stream or handler.unary_stream

        async def streaming(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                admit(context)
                async for response in behaviour(_checked(handler, request, context, authorise), context):
                    authorise(context)
                    yield response
            except Exception as error:
                await _refuse(context, error)

        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return make(streaming, handler.request_deserializer, handler.response_serializer)
    behaviour = handler.stream_unary or handler.unary_unary

    async def single(request: Any, context: Any) -> Any:
        try:
            admit(context)
            return await behaviour(_checked(handler, request, context, authorise), context)
        except Exception as error:
            return await _refuse(context, error)

    make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
    return make(single, handler.request_deserializer, handler.response_serializer)


def _checked(handler: Any, request: Any, context: Any, authorise: Callable[[Any], None]) -> Any:
    """A stream of requests whose every message is authorised: connections outlive revocation and expiry."""
    return _Authorised(context, authorise) if handler.request_streaming else request


class _Authorised:
    """An iterator over a call's messages. gRPC's own, an asynchronous generator, would keep each until the next one is there:
    of every upload that waits, a chunk."""

    def __init__(self, context: Any, authorise: Callable[[Any], None]) -> None:
        self._context, self._authorise = context, authorise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        message = await self._context.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        self._authorise(self._context)
        return message


async def _refuse(context: Any, error: Exception) -> None:
    """End the call with the problem's status; what is not a Problem is our fault, is logged, and says so."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    problem = error if isinstance(error, Problem) else None
    if isinstance(problem, Denied):
        who = calling.get(None)
        _log.warning("refused %s: %s", f"{who.kind} {who.id}" if who else "a caller", problem.what)
    if isinstance(problem, Exhausted):
        await asyncio.sleep(random.uniform(*LATE))  # noqa: S311  (no secret)
    if problem is None:
        _log.error("a call failed", exc_info=error)
        problem = Unavailable("The hub met an error of its own while answering.", "Its log says more.")
    await context.abort_with_status(rpc_status.to_status(to_status(problem)))
