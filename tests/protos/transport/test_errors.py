"""A problem means the same on both ends of a call; what gRPC itself says becomes one sentence."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

import grpc
import pytest

from protos.coalition.v1 import ledger_pb2, ledger_pb2_grpc
from protos.transport.channel import connect
from protos.transport.errors import from_rpc_error
from tests.protos.transport.conftest import Wire, refuse
from trust.certificates import Authority
from trust.errors import Conflict, Corrupt, Denied, Invalid, NotFound, Problem, Unavailable


def answer(wire: Wire, channel: grpc.Channel, check: Any, timeout: float = 10) -> Problem:
    wire.blobs.check = check
    with pytest.raises(grpc.RpcError) as caught:
        ledger_pb2_grpc.BlobsStub(channel).Check(ledger_pb2.CheckBlobRequest(), timeout=timeout)
    return from_rpc_error(caught.value)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Invalid, grpc.StatusCode.INVALID_ARGUMENT),
        (Denied, grpc.StatusCode.PERMISSION_DENIED),
        (NotFound, grpc.StatusCode.NOT_FOUND),
        (Conflict, grpc.StatusCode.FAILED_PRECONDITION),
        (Unavailable, grpc.StatusCode.UNAVAILABLE),
        (Corrupt, grpc.StatusCode.DATA_LOSS),
    ],
)
def test_every_kind_arrives_as_it_left(
    wire: Wire, channel: grpc.Channel, kind: type[Problem], code: grpc.StatusCode
) -> None:
    sent = kind("It went wrong: ünïcode.", "Do this.", field="files.path")
    wire.blobs.check = lambda context: refuse(context, sent)
    with pytest.raises(grpc.RpcError) as caught:
        ledger_pb2_grpc.BlobsStub(channel).Check(ledger_pb2.CheckBlobRequest(), timeout=10)
    assert caught.value.code() == code
    came = from_rpc_error(caught.value)
    assert (type(came), came.what, came.todo, came.field) == (kind, sent.what, sent.todo, sent.field)


def test_a_problem_without_remedy_and_field_stays_without(wire: Wire, channel: grpc.Channel) -> None:
    came = answer(wire, channel, lambda context: refuse(context, NotFound("Nothing there.")))
    assert came.diagnostics() == "Nothing there."
    assert came.field == ""


def test_malformed_details_do_not_break_the_client(wire: Wire, channel: grpc.Channel) -> None:
    def lie(context: Any) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff not a status"),))
        context.abort(grpc.StatusCode.INTERNAL, "odd")

    came = answer(wire, channel, lie)
    assert isinstance(came, Unavailable)
    assert "odd" in came.what


def test_a_deadline_is_told_as_such(wire: Wire, channel: grpc.Channel) -> None:
    over = threading.Event()
    came = answer(wire, channel, lambda context: over.wait(10), timeout=0.2)
    over.set()
    assert isinstance(came, Unavailable)
    assert "in time" in came.what


def test_an_unauthenticated_call_says_to_enrol(wire: Wire, channel: grpc.Channel) -> None:
    came = answer(wire, channel, lambda context: context.abort(grpc.StatusCode.UNAUTHENTICATED, ""))
    assert isinstance(came, Denied)
    assert came.todo == "Enrol again."


def reached(address: str, wire: Wire, authority: Authority | None = None) -> Problem:
    """What a call to an address that does not work out is told as."""
    credentials = wire.credentials()
    if authority is not None:
        credentials = replace(credentials, authority=authority.cert_pem)
    with connect(address, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
        ledger_pb2_grpc.BlobsStub(channel).Check(ledger_pb2.CheckBlobRequest(), timeout=10)
    return from_rpc_error(caught.value)


def test_a_hub_that_is_away_is_one_sentence_with_its_address(wire: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    told = reached(address, wire)
    assert isinstance(told, Unavailable)
    assert told.what == f"The hub at {address} cannot be reached: nobody listens there."
    assert "nobody knows that name" in reached("hub.invalid:9090", wire).what


def test_another_hub_at_the_address_is_told_as_such(wire: Wire) -> None:
    told = reached(f"127.0.0.1:{wire.port}", wire, Authority.create("another-hub"))
    assert "not your hub" in told.what
    assert "SSL" not in told.diagnostics()
