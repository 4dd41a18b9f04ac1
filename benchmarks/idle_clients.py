"""The hub's memory under a thousand connected clients that do nothing, against a server that does nothing with as many.

    python -m benchmarks.idle_clients [--clients 1000]

Every client has its own connection over mutual TLS, has asked once who it is, and stays. Then one more asks as a
person would: how long it waits.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc

from benchmarks._hub import memory_of, serving
from benchmarks._measure import percentile
from contributors.demo.parties import free_ports
from protos.coalition.v1 import members_pb2
from protos.transport.channel import Credentials

WHO = "/coalition.v1.Members/WhoAmI"
MEMBERS = 10  # whose certificates the clients share: a member may call so often a second
ASKED = 200


def connections(port: int, members: Sequence[Credentials], count: int, stack: ExitStack) -> list[grpc.Channel]:
    """Channels that share no connection, each of which has been answered once."""
    own = [("grpc.use_local_subchannel_pool", 1), ("grpc.keepalive_time_ms", 600_000)]
    channels = []
    for number in range(count):
        secure = members[number % len(members)].for_grpc()
        channel = stack.enter_context(grpc.secure_channel(f"127.0.0.1:{port}", secure, options=own))
        ask(channel)
        channels.append(channel)
    return channels


def ask(channel: grpc.Channel) -> float:
    """Seconds until the hub has said who asks."""
    call = channel.unary_unary(WHO, members_pb2.WhoAmIRequest.SerializeToString, members_pb2.Member.FromString)
    began = time.perf_counter()
    call(members_pb2.WhoAmIRequest(), timeout=60)
    return time.perf_counter() - began


def grown(
    port: int, members: Sequence[Credentials], count: int, memory: Callable[[], float]
) -> tuple[float, float, list[float]]:
    """MiB before and with the clients, and the milliseconds that one more waits while they are there."""
    with ExitStack() as stack:
        (asking,) = connections(port, members[:1], 1, stack)
        before = memory()
        connections(port, members[1:], count, stack)
        waits = [ask(asking) * 1000 for _ in range(ASKED)]
        return before, memory(), waits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    options = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))  # the hub inherits it
    with tempfile.TemporaryDirectory(prefix="coalition-bench-") as folder, serving(Path(folder)) as hub:
        members = [hub.home(f"member-{number}").credentials() for number in range(MEMBERS + 1)]
        rest, full, waits = grown(hub.settings.port, members, options.clients, hub.resident)
        first = free_ports(2)
        directory = str(hub.settings.directory)
        command = [sys.executable, "-m", "benchmarks.authorisation", "--serve", directory, str(first), str(first + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as bare:
            try:
                assert bare.stdout is not None
                bare.stdout.readline()
                empty, crowded, bare_waits = grown(first + 1, members, options.clients, lambda: memory_of(bare.pid))
            finally:
                bare.terminate()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; {options.clients} clients")
    each, least = full - rest, crowded - empty
    for name, before, after, times in (("the hub", rest, full, waits), ("a bare server", empty, crowded, bare_waits)):
        kib = (after - before) * 1024 / options.clients
        print(f"{name:14} {before:4.0f} MiB, with the clients {after:4.0f} MiB, {kib:.0f} KiB each")
        print(
            f"{'':14} one more waits {statistics.median(times):.1f} ms, 99 of 100 at most {percentile(times, 0.99):.1f} ms"
        )
    print(f"a client costs the hub {each / least:.2f} times what it costs a bare server")


if __name__ == "__main__":
    main()
