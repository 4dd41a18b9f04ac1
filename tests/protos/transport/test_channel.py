"""Pinning a hub by its authority's fingerprint, and mutual TLS in both flavours of gRPC."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from protos.coalition.v1 import ledger_pb2, ledger_pb2_grpc
from protos.transport.channel import (
    check_main_listener,
    connect,
    connect_aio,
    connect_as_stranger,
    fetch_authority,
    split_address,
)
from protos.transport.errors import from_rpc_error
from tests.protos.transport.conftest import Wire
from trust.certificates import Authority
from trust.errors import Denied, Invalid, Unavailable

REQUEST = ledger_pb2.CheckBlobRequest()


def test_the_authority_is_found_in_the_chain_by_its_fingerprint(wire: Wire) -> None:
    assert fetch_authority("127.0.0.1", wire.open_port, wire.authority.fingerprint) == wire.authority.cert_pem


def test_another_authority_is_refused(wire: Wire) -> None:
    with pytest.raises(Denied, match="not the one that the invitation names"):
        fetch_authority("127.0.0.1", wire.open_port, Authority.create("wire-hub").fingerprint)


def test_nobody_there_is_unavailable(wire: Wire) -> None:
    with socket.socket() as listener:  # bound, never listening: nobody else gets the port meanwhile
        listener.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="No hub answers"):
            fetch_authority("127.0.0.1", listener.getsockname()[1], wire.authority.fingerprint)


def test_the_main_listener_is_told_from_the_one_for_strangers_and_from_what_is_no_hub(wire: Wire) -> None:
    pinned = wire.authority.fingerprint
    check_main_listener(f"127.0.0.1:{wire.port}", pinned)
    with pytest.raises(Invalid, match="not the one that members are served at"):
        check_main_listener(f"127.0.0.1:{wire.open_port}", pinned)
    with pytest.raises(Denied, match="not the one that the invitation names"):
        check_main_listener(f"127.0.0.1:{wire.port}", Authority.create("wire-hub").fingerprint)
    with talking_listener() as port, pytest.raises(Unavailable, match="speaks no TLS"):
        check_main_listener(f"127.0.0.1:{port}", pinned)


def test_a_name_that_the_hubs_certificate_does_not_carry_is_told_with_those_that_it_does(wire: Wire) -> None:
    """Before anything is spent; of several addresses it is the first that counts, as for every call."""
    pinned = wire.authority.fingerprint
    for address in (f"localhost:{wire.port}", f"localhost:{wire.port},127.0.0.1:{wire.port}"):
        with pytest.raises(Invalid, match=r"certificate is for 127\.0\.0\.1, and not for localhost"):
            check_main_listener(address, pinned)
    check_main_listener(f"127.0.0.1:{wire.port},localhost:{wire.port}", pinned)


@contextmanager
def talking_listener() -> Iterator[int]:
    """Answers whoever comes with a line that is not TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as guest:
                guest.recv(4096)
                guest.sendall(b"220 mail.example.org\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_client_certificate_opens_the_main_listener(channel: grpc.Channel) -> None:
    assert ledger_pb2_grpc.BlobsStub(channel).Check(REQUEST, timeout=10).intact


async def test_asyncio_channels_use_it_too(wire: Wire) -> None:
    async with connect_aio(f"127.0.0.1:{wire.port}", wire.credentials()) as channel:
        assert (await ledger_pb2_grpc.BlobsStub(channel).Check(REQUEST, timeout=10)).intact  # type: ignore[misc]


def test_a_stranger_reaches_only_the_open_listener(wire: Wire) -> None:
    with connect_as_stranger("127.0.0.1", wire.open_port, wire.authority.cert_pem) as channel:
        assert ledger_pb2_grpc.BlobsStub(channel).Check(REQUEST, timeout=10).intact
    with (
        connect_as_stranger("127.0.0.1", wire.port, wire.authority.cert_pem) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        ledger_pb2_grpc.BlobsStub(channel).Check(REQUEST, timeout=10)
    assert isinstance(from_rpc_error(caught.value), Unavailable)


def test_a_hub_of_another_authority_is_not_believed(wire: Wire) -> None:
    with (
        connect_as_stranger("127.0.0.1", wire.open_port, Authority.create("wire-hub").cert_pem) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        ledger_pb2_grpc.BlobsStub(channel).Check(REQUEST, timeout=10)
    assert isinstance(from_rpc_error(caught.value), Unavailable)


def test_a_name_that_the_certificate_does_not_carry_is_refused(wire: Wire) -> None:
    with (
        connect(f"localhost:{wire.port}", wire.credentials()) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        ledger_pb2_grpc.BlobsStub(channel).Check(REQUEST, timeout=10)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_private_keys_are_not_shown(wire: Wire) -> None:
    assert "PRIVATE" not in repr(wire.credentials())


@pytest.mark.parametrize("text", ["", "hub", "hub:", ":9090", "hub:port", "hub:0", "hub:65536", "hub:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not an address"):
        split_address(text)


def test_an_ipv6_address_keeps_its_brackets() -> None:
    assert split_address("[::1]:9090") == ("[::1]", 9090)


def test_of_several_addresses_the_one_that_answers_is_used(wire: Wire) -> None:
    with socket.socket() as dead:  # bound, never listening
        dead.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{dead.getsockname()[1]},localhost:{wire.port}"
        with connect(address, wire.credentials()) as channel:
            assert ledger_pb2_grpc.BlobsStub(channel).Check(REQUEST, timeout=10).intact


def test_a_wrong_one_among_several_addresses_is_refused(wire: Wire) -> None:
    with pytest.raises(Invalid, match="not an address"):
        connect(f"127.0.0.1:{wire.port},hub", wire.credentials())
    assert split_address("hub.example:9090,hub2:9090") == ("hub.example", 9090)
