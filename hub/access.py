"""Who calls, and what they may do: identity from the verified certificate, one table of calls and roles, deny by default."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias

import grpc
from grpc_status import rpc_status

from hub.acts import act
from hub.rates import Rates
from protos.transport.errors import to_status
from trust.errors import Denied, Exhausted, Invalid, Problem, Unavailable
from trust.presented import read_client_certificate

Role = Literal["core", "contributor", "viewer", "node"]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_log = logging.getLogger(__name__)

ALL: frozenset[Role] = frozenset({"core", "contributor", "viewer", "node"})
PEOPLE: frozenset[Role] = frozenset({"core", "contributor", "viewer"})
BUILDERS: frozenset[Role] = frozenset({"core", "contributor"})
CORE: frozenset[Role] = frozenset({"core"})
NODE: frozenset[Role] = frozenset({"node"})

ALLOWED: dict[str, dict[str, frozenset[Role]]] = {
    "Members": {
        "WhoAmI": ALL,
        "ListMembers": PEOPLE,
        "GetKeys": PEOPLE,
        "ChangeKeys": PEOPLE,
        "Delegate": BUILDERS,
        "RevokeNode": CORE,
        "Renew": ALL,
    },
    "Ledger": {"GetHead": ALL, "ReadTile": ALL, "ListEntries": ALL, "GetReceipt": ALL},
    "Blobs": {"Read": ALL, "Check": PEOPLE, "Write": NODE},
    "Submissions": {
        "Open": BUILDERS,
        "Upload": BUILDERS,
        "Commit": BUILDERS,
        "ListSubmissions": PEOPLE,
        "GetSubmission": PEOPLE,
        "GetPolicy": PEOPLE,
        "Withdraw": BUILDERS,
    },
    "Training": {
        "LaunchRun": CORE,
        "ListRuns": PEOPLE,
        "GetRun": PEOPLE,
        "WatchRun": PEOPLE,
        "CancelRun": CORE,
        "ListNodes": PEOPLE,
    },
    "Nodes": {"Attach": NODE},
    "Campaigns": {
        "OpenCampaign": CORE,
        "ListCampaigns": PEOPLE,
        "GetCampaign": PEOPLE,
        "WatchCampaign": PEOPLE,
        "JoinCampaign": BUILDERS,
        "StopCampaign": CORE,
        "BeginSite": BUILDERS,
        "RegisterSite": BUILDERS,
    },
    "Evaluations": {"ListEvaluations": PEOPLE, "GetEvaluation": PEOPLE, "GetLeaderboard": PEOPLE},
    "Models": {"ListModels": PEOPLE, "GetModel": PEOPLE, "GetLineage": PEOPLE},
    "Witnesses": {"EnrolWitness": BUILDERS, "SetPolicy": CORE, "Attach": BUILDERS, "GetStanding": ALL},
    "Releases": {"PrepareRelease": CORE, "PublishRelease": CORE, "ListReleases": PEOPLE, "GetRelease": PEOPLE},
}
"""Every call of `coalition.v1` on the main listener and the roles that may make it."""

ANY: frozenset[str] = frozenset()
_SUBMITTING = frozenset({"dataset", "suite"})

DELEGATED: dict[str, dict[str, frozenset[str]]] = {
    "Members": {"WhoAmI": ANY, "ListMembers": ANY, "GetKeys": ANY, "Renew": ANY},
    "Ledger": {"GetHead": ANY, "ReadTile": ANY, "ListEntries": ANY, "GetReceipt": ANY},
    "Blobs": {"Read": ANY, "Check": ANY},
    "Submissions": {
        "Open": _SUBMITTING,
        "Upload": _SUBMITTING,
        "Commit": _SUBMITTING,
        "ListSubmissions": ANY,
        "GetSubmission": ANY,
        "GetPolicy": ANY,
    },
    "Training": {
        "LaunchRun": frozenset({"run"}),
        "ListRuns": ANY,
        "GetRun": ANY,
        "WatchRun": ANY,
        "CancelRun": frozenset({"stop"}),
        "ListNodes": ANY,
    },
    "Campaigns": {
        "OpenCampaign": frozenset({"campaign"}),
        "ListCampaigns": ANY,
        "GetCampaign": ANY,
        "WatchCampaign": ANY,
        "JoinCampaign": frozenset({"consent"}),
        "StopCampaign": frozenset({"stop"}),
        "BeginSite": frozenset({"consent"}),
        "RegisterSite": frozenset({"consent"}),
    },
    "Evaluations": {"ListEvaluations": ANY, "GetEvaluation": ANY, "GetLeaderboard": ANY},
    "Models": {"ListModels": ANY, "GetModel": ANY, "GetLineage": ANY},
    "Releases": {"ListReleases": ANY, "GetRelease": ANY},
    "Witnesses": {"GetStanding": ANY},
}
"""Of the calls that a member may make, those that its delegates may: with any of these kinds delegated, or with whichever."""

_OPEN_TO_ENROLLED = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/grpc.reflection.v1.ServerReflection/",
)
_PREFIX = "/coalition.v1."
MAX_DEADLINE = 900.0
"""Seconds that a call with one question and one answer may take."""
LATE = 0.5, 1.0
"""Seconds, at least and at most, after which a caller hears that it calls too often: one that asks again at once costs the others
less, and its many do not ask again at the same moment."""
CALLER = "coalition-caller-bin"
"""The metadata in which one process of the hub passes the caller's certificate on to another (`hub.forwarding`)."""


@dataclass(frozen=True)
class Presented:
    """What the verified certificate shows: a party (`delegate` names a delegation), the key's keyid, when it was issued."""

    kind: Literal["member", "node", "delegate"]
    name: str
    keyid: str
    issued: dt.datetime


@dataclass(frozen=True)
class Caller:
    """The party at the other end of the call; `kinds` are a delegate's, who calls in the member's name."""

    kind: Literal["member", "node"]
    id: str
    role: Role
    kinds: frozenset[str] | None = None
    certificate: Presented | None = None

    @property
    def delegation(self) -> str:
        """That a delegate calls under; empty for others."""
        return self.certificate.name if self.certificate and self.certificate.kind == "delegate" else ""

    @property
    def reads_sealed(self) -> bool:
        """Whether the party itself calls, or a delegate that may read what the member keeps sealed."""
        return self.kinds is None or "sealed" in self.kinds


RoleOf = Callable[[Presented], Caller]
"""From the members room. Raises `Denied` for a party that is not, or no longer, enrolled."""


Issuers = Callable[[], frozenset[str]]
"""Key identifiers of the authorities that are believed now: TLS asked when the connection was made, perhaps long ago."""

_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """The party that makes the present call."""
    return _caller.get()


def party() -> str | None:
    """Whom the present work is for; `None` outside of calls."""
    who = _caller.get(None)
    return f"{who.kind} {who.id}" if who else None


def roles_for(method: str) -> frozenset[Role]:
    """The roles that may call a full method name (`/coalition.v1.Ledger/GetHead`); none for what is not in the table."""
    if method.startswith(_OPEN_TO_ENROLLED):
        return ALL
    service, _, name = method.removeprefix(_PREFIX).partition("/")
    return ALLOWED.get(service, {}).get(name, frozenset())


def may_call(who: Caller, method: str) -> bool:
    """Whether the table opens this full method name to the caller; to a delegate only what its kinds need."""
    if who.role not in roles_for(method):
        return False
    if who.kinds is None or method.startswith(_OPEN_TO_ENROLLED):
        return True
    service, _, name = method.removeprefix(_PREFIX).partition("/")
    needed = DELEGATED.get(service, {}).get(name)
    return needed is not None and (not needed or bool(needed & who.kinds))


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
            self._spend(_caller.get(None), context)
            raise
        self._spend(caller(), context)
        remaining = context.time_remaining()
        if single and method.startswith(_PREFIX) and (remaining is None or remaining > MAX_DEADLINE):
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
        _caller.set(who)
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
        who = _caller.get(None)
        _log.warning("refused %s: %s", f"{who.kind} {who.id}" if who else "a caller", problem.what)
    if isinstance(problem, Exhausted):
        await asyncio.sleep(random.uniform(*LATE))  # noqa: S311  (no secret)
    if problem is None:
        _log.error("a call failed", exc_info=error)
        problem = Unavailable("The hub met an error of its own while answering.", "Its log says more.")
    await context.abort_with_status(rpc_status.to_status(to_status(problem)))
