"""What authorising every call costs: the same call on the same server with and without it, and the check by itself.

    python -m benchmarks.authorisation [--calls 2000] [--rounds 7]

Both servers stand in one process of its own, over mutual TLS, with a member's real certificate and a real hub's database; the
call does nothing. So the ratio is the worst there is: every real call does more.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc

from benchmarks._hub import serving
from benchmarks._measure import interleaved, show
from contributors.demo.parties import free_ports
from hub.access import Access
from hub.authorities import Authorities
from hub.database import Database
from hub.listeners import OPTIONS
from hub.members.roles import Roles
from hub.rates import Limit, Rates
from hub.settings import Settings
from protos.coalition.v1 import members_pb2
from protos.transport.channel import connect

WHO = "/coalition.v1.Members/WhoAmI"
UNBOUNDED = Limit(rate=1e9, burst=1e9)


class _Shown:
    """A call's context, as far as the check looks at it."""

    def __init__(self, certificate: bytes) -> None:
        self._shown = {"x509_pem_cert": [certificate]}

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._shown

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> float:
        return 10.0


async def serve(directory: Path, checked: int, unchecked: int) -> None:
    settings = Settings.load(directory)
    authorities = Authorities(settings)
    database = Database(settings.database_url)
    access = Access(settings.name, Roles(database), lambda: authorities.issuers, Rates(UNBOUNDED))
    servers = []  # a server that nobody holds is closed
    for port, interceptors in ((checked, [access]), (unchecked, [])):
        server = grpc.aio.server(interceptors=interceptors, options=OPTIONS)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("coalition.v1.Members", {"WhoAmI": _handler()})]
        )
        server.add_secure_port(f"127.0.0.1:{port}", authorities.credentials(mutual=True))
        await server.start()
        servers.append(server)
    print("ready", flush=True)
    await asyncio.Event().wait()


def _handler() -> Any:
    async def answer(request: Any, context: Any) -> members_pb2.Member:
        return members_pb2.Member(id="somebody")

    return grpc.unary_unary_rpc_method_handler(
        answer, members_pb2.WhoAmIRequest.FromString, members_pb2.Member.SerializeToString
    )


def calls_per_second(channel: grpc.Channel, count: int) -> float:
    call = channel.unary_unary(WHO, members_pb2.WhoAmIRequest.SerializeToString, members_pb2.Member.FromString)
    request = members_pb2.WhoAmIRequest()
    began = time.perf_counter()
    for _ in range(count):
        call(request, timeout=10)
    return count / (time.perf_counter() - began)


def check_alone(directory: Path, certificate: bytes, count: int) -> float:
    """Microseconds of one admission."""
    settings = Settings.load(directory)
    authorities = Authorities(settings)
    access = Access(
        settings.name, Roles(Database(settings.database_url)), lambda: authorities.issuers, Rates(UNBOUNDED)
    )
    context = _Shown(certificate)
    access._admit(WHO, context, True)
    began = time.perf_counter()
    for _ in range(count):
        access._admit(WHO, context, True)
    return (time.perf_counter() - began) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(Path(options.serve[0]), int(options.serve[1]), int(options.serve[2])))
        return
    with tempfile.TemporaryDirectory(prefix="coalition-bench-") as folder:
        with serving(Path(folder)) as hub:
            home = hub.home("member-1")
        directory, first = hub.settings.directory, free_ports(2)
        command = [
            sys.executable,
            "-m",
            "benchmarks.authorisation",
            "--serve",
            str(directory),
            str(first),
            str(first + 1),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as servers:
            try:
                assert servers.stdout is not None
                servers.stdout.readline()
                credentials = home.credentials()
                with (
                    connect(f"127.0.0.1:{first}", credentials) as checked,
                    connect(f"127.0.0.1:{first + 1}", credentials) as bare,
                ):
                    contenders = {
                        "authorised": lambda: calls_per_second(checked, options.calls),
                        "not authorised": lambda: calls_per_second(bare, options.calls),
                    }
                    figures = interleaved(contenders, options.rounds)
            finally:
                servers.terminate()
        show("Calls that do nothing", "calls/s", figures, "not authorised")
        print(f"the check alone: {check_alone(directory, credentials.certificate, 20_000):.1f} µs")


if __name__ == "__main__":
    main()
