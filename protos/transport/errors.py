"""Problems as google.rpc.Status and back (google.aip.dev/193): the kind as ErrorInfo, the field as BadRequest."""

from __future__ import annotations

import re
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from trust.errors import Conflict, Corrupt, Denied, Exhausted, Invalid, NotFound, Problem, Unavailable

DOMAIN = "coalition"
MAX_WAIT = 60.0
"""Seconds that a client waits at most because the other side asked it to."""

_CODES: dict[type[Problem], grpc.StatusCode] = {
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    Denied: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Corrupt: grpc.StatusCode.DATA_LOSS,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_PLACE = re.compile(r"(?:ipv[46]:|lookup failed for )([^\s,;]+:\d+)")
_SIGNS = {
    "Connection refused": "nobody listens there",
    "Domain name not found": "nobody knows that name",
    "CERTIFICATE_VERIFY_FAILED": "what answers there is not your hub, for its certificate is another's",
    "Hostname Verification Check failed": "the certificate of what answers there is for another name",
    "Tls handshake failed": "what answers there is not a hub",
    "unreachable": "no network leads there",
    "No route to host": "no network leads there",
    "imed out": "nothing comes back from there",
    "imeout": "nothing comes back from there",
    "Socket closed": "the connection was cut",
    "Connection reset": "the connection was cut",
    "Broken pipe": "the connection was cut",
    "GOAWAY": "it is stopping",
}
"""What gRPC says of a connection, in the order in which it counts, and what that means."""
_KINDS = {kind.reason: kind for kind in _CODES}


def to_status(problem: Problem) -> Any:
    """The google.rpc.Status of a problem."""
    code = _CODES.get(type(problem), grpc.StatusCode.UNKNOWN)
    status = status_pb2.Status(code=code.value[0], message=problem.what)
    info = error_details_pb2.ErrorInfo(reason=problem.reason, domain=DOMAIN)
    if problem.todo:
        info.metadata["todo"] = problem.todo
    status.details.append(_packed(info))
    if problem.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=problem.field, description=problem.what)
        status.details.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(problem, Exhausted):
        wait = error_details_pb2.RetryInfo()
        wait.retry_delay.FromMilliseconds(round(problem.retry_after * 1000))
        status.details.append(_packed(wait))
    return status


def from_rpc_error(error: grpc.RpcError) -> Problem:
    """The problem that the other side meant; failures of gRPC itself become one sentence too."""
    try:
        return _of_status(rpc_status.from_call(error)) or _of_grpc(error)
    except (ValueError, AttributeError, DecodeError):  # no details, or malformed ones: the other side is not believed
        return _of_grpc(error)


def _of_status(status: Any) -> Problem | None:
    """What a rich status says, if it is one of ours."""
    reason = todo = field = ""
    wait = 0.0
    for detail in status.details if status else ():
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason, todo = info.reason, info.metadata.get("todo", "")
        elif detail.Unpack(request) and request.field_violations:
            field = request.field_violations[0].field
        elif detail.Unpack(retry):
            wait = min(max(retry.retry_delay.ToMilliseconds() / 1000, 0.0), MAX_WAIT)
    if reason == Exhausted.reason:
        return Exhausted(status.message, todo, field=field, retry_after=wait)
    return _KINDS[reason](status.message, todo, field=field) if reason in _KINDS else None


def _of_grpc(error: Any) -> Problem:
    code, details = error.code(), (error.details() or "").strip()
    if code == grpc.StatusCode.UNAVAILABLE:
        return _away(details)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable("The hub did not answer in time.", "Try again.")
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return Denied("The hub does not accept your certificate.", "Enrol again.")
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return Unavailable("The hub does not know this call.", "It may run an older version.")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Unavailable(f"The message or the load is too large for the hub ({details}).")
    return Unavailable(f"The call failed: {code.name.lower()} {details}".strip() + ".")


def _away(details: str) -> Problem:
    """gRPC's account of a connection that did not come about, or broke, as one sentence."""
    where = _PLACE.search(details)
    why = next((words for sign, words in _SIGNS.items() if sign in details), details[:100])
    what = f"The hub{f' at {where[1]}' if where else ''} cannot be reached{f': {why}' if why else ''}."
    return Unavailable(what, "Check the address and that it is running.")


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
