"""Channels over mutual TLS, and the first contact that pins a hub's authority by its fingerprint."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from trust.certificates import fingerprint, server_hosts
from trust.digests import Digest
from trust.errors import Denied, Invalid, Unavailable

CONNECT_SECONDS = 10.0
_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.max_receive_message_length", 32 << 20),
    ("grpc.max_send_message_length", 8 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # what one attempt to connect may take, whatever its name says
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True)
class Credentials:
    """PEM: the hub's authority, our certificate, our private key."""

    authority: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    def for_grpc(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def connect(address: str, credentials: Credentials) -> grpc.Channel:
    """A channel for blocking calls to `HOST:PORT`, or to the first of several with commas between them that answers.

    It connects when first used, and again to whichever answers when the connection is lost.
    """
    target, options = _target(address)
    return grpc.secure_channel(target, credentials.for_grpc(), options=options)


def connect_aio(address: str, credentials: Credentials, name: str = "") -> grpc.aio.Channel:
    """A channel for asyncio; the other side's certificate must carry `name`, if given, in place of the address."""
    target, options = _target(address)
    if name:
        options = [*options, ("grpc.ssl_target_name_override", name)]
    return grpc.aio.secure_channel(target, credentials.for_grpc(), options=options)


def connect_as_stranger(host: str, port: int, authority: bytes) -> grpc.Channel:
    """A channel to the enrolment listener: the hub is verified, we have no certificate yet."""
    return grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(authority), options=_OPTIONS)


def _target(address: str) -> tuple[str, Sequence[tuple[str, Any]]]:
    """What gRPC dials. The processes of one hub share one certificate: all are verified under the first one's name."""
    parts = address.split(",")
    (host, _), *others = [split_address(part) for part in parts]
    if not others:
        return address, _OPTIONS
    found = [_resolved(*split_address(part)) for part in parts]
    return f"ipv4:{','.join(found)}", [*_OPTIONS, ("grpc.ssl_target_name_override", host)]


def _resolved(host: str, port: int) -> str:
    """gRPC takes several addresses only as numbers. Raises `Unavailable` for a name that nobody knows."""
    try:
        number = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise Unavailable(f"{host} has no address ({error.strerror}).", "Check the hub's name.") from None
    return f"{number}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """HOST and PORT; of several addresses with commas between them, the first one's. Raises `Invalid`."""
    address = address.partition(",")[0]
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise Invalid(f"{address[:80]!r} is not an address.", "Write HOST:PORT.")
    return host, int(port)


def fetch_authority(host: str, port: int, pinned: Digest) -> bytes:
    """The certificate (PEM) with the pinned fingerprint from the chain that the listener sends.

    Nothing else is believed here: every later connection is verified against this certificate.
    Raises `Denied` when no certificate of the chain has the fingerprint, `Unavailable` when nobody answers.
    """
    with _listener(host, port) as secure:
        return _pinned(secure, host, port, pinned)


def check_main_listener(address: str, pinned: Digest) -> None:
    """Before anything is spent or kept: that the hub of the pinned authority serves its members at `address`.

    Of several addresses with commas between them one must, and no other may be something else; all show one certificate, for
    the first one's name. Raises `Invalid` for another listener of the hub and for a name that its certificate does not carry,
    and as `fetch_authority`.
    """
    name, _ = split_address(address)
    away: Unavailable | None = None
    answered = False
    for part in address.split(","):
        try:
            _check_main(*split_address(part), pinned, name)
            answered = True
        except Unavailable as problem:
            away = problem
    if away is not None and not answered:
        raise away


def _check_main(host: str, port: int, pinned: Digest, name: str) -> None:
    """The main listener is the one that speaks HTTP/2 and says nothing to whom shows no certificate."""
    with _listener(host, port) as secure:
        _pinned(secure, host, port, pinned)
        _check_name(secure, name.strip("[]"))
        try:
            greeting = secure.recv(1) if secure.selected_alpn_protocol() == "h2" else b"another protocol"
        except OSError:  # it ends the connection, as it should
            greeting = b""
    if greeting:
        raise Invalid(
            f"{host}:{port} is a port of the hub, but not the one that members are served at.",
            "Ask for its main port, 9090 unless the operator chose another.",
        )


@contextmanager
def _listener(host: str, port: int) -> Iterator[ssl.SSLSocket]:
    """A connection on which nothing is believed yet. Raises `Unavailable` when nobody answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])  # gRPC's listener ends handshakes without it
    try:
        with (
            socket.create_connection((host.strip("[]"), port), timeout=CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")) as secure,
        ):
            yield secure
    except OSError as error:
        why = next((words for kind, words in _FAILURES if isinstance(error, kind)), error.strerror or str(error))
        raise Unavailable(f"No hub answers at {host}:{port}: {why}.", "Check the address and that it runs.") from None


_FAILURES = (
    (ConnectionRefusedError, "nobody listens there"),
    (socket.gaierror, "nobody knows that name"),
    (TimeoutError, "nothing comes back from there"),
    (ssl.SSLError, "what answers there speaks no TLS"),
)


def _pinned(secure: ssl.SSLSocket, host: str, port: int, pinned: Digest) -> bytes:
    for certificate in _chain(secure):
        if fingerprint(certificate) == pinned:
            return certificate
    raise Denied(
        f"The hub at {host}:{port} is not the one that the invitation names: its certificate authority differs.",
        "Check the address; if it is right, somebody may be in between.",
    )


def _check_name(secure: ssl.SSLSocket, name: str) -> None:
    """Calls would fail later for another name, without a word on which one it is."""
    names = server_hosts(_chain(secure)[0])
    if _canonical(name) not in map(_canonical, names):
        raise Invalid(
            f"The hub's certificate is for {', '.join(names[:5]) or 'no name'}, and not for {name}.",
            "Dial it by a name that it is for, or ask its operator for a certificate with this one.",
        )


def _canonical(name: str) -> str:
    """The one spelling of a name or an address."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def _chain(secure: ssl.SSLSocket) -> list[bytes]:
    """The certificates that the other side sent, as PEM. `get_unverified_chain` is public from Python 3.13 on."""
    source: Any = secure if hasattr(secure, "get_unverified_chain") else secure._sslobj  # type: ignore[attr-defined]
    sent = source.get_unverified_chain() or []
    return [_pem(certificate) for certificate in sent]


def _pem(certificate: Any) -> bytes:
    if isinstance(certificate, bytes):
        return ssl.DER_cert_to_PEM_cert(certificate).encode()
    return str(certificate.public_bytes()).encode()
