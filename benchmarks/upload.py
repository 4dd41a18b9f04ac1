"""Upload speed: one file through a real hub over mutual TLS, durable at the end, against a bare gRPC stream of the same chunks
and against SHA-256 alone. `--concurrent N` sends N files of ten members at once and prints the hub's memory.

    python benchmarks/upload.py [--megabytes 1024] [--rounds 3] [--concurrent 100]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from contributors.client import Coalition
from contributors.demo.parties import BIN, answers, free_ports, run
from contributors.home import Home
from hub import setup
from protos.coalition.v1 import submissions_pb2
from protos.coalition.v1.submissions_pb2_grpc import SubmissionsStub
from protos.documents.submissions import Dataset
from protos.transport.channel import Credentials, connect
from protos.transport.enrolment import enrol
from protos.transport.uploads import Source
from trust.certificates import Authority, new_client_request, party_uri
from trust.digests import CHUNK, digest_file
from trust.invitations import Invitation

SINK = "/benchmark.Sink/Upload"


def make_file(path: Path, size: int, seed: int) -> None:
    block = os.urandom(CHUNK - 8)
    with path.open("wb") as file:
        for number in range(size // CHUNK):
            file.write((seed * 1_000_003 + number).to_bytes(8, "big") + block)


def send(member: Coalition, path: Path, name: str) -> float:
    """Seconds from the first chunk until the hub says that the whole file is durable."""
    digest = digest_file(path)
    claim = Dataset.read(
        {
            "hub": member.identity.hub,
            "signer": member.identity.id,
            "name": name,
            "domain": "law",
            "licence": "CC-BY-4.0",
            "provenance": "noise for a benchmark",
            "rows": 1,
            "files": [{"path": "data.jsonl", "digest": digest, "size": path.stat().st_size, "rows": 1}],
        }
    )
    stub = SubmissionsStub(member.channel)
    opened = stub.Open(member.sign(claim), timeout=60)
    began = time.perf_counter()
    done = stub.Upload(Source(path).chunks(opened.id, digest, 0, lambda count: None), timeout=3600)
    assert done.complete
    return time.perf_counter() - began


def bare(directory: Path, path: Path) -> float:
    """The same bytes in the same messages to a server that throws them away."""
    authority = Authority.create("bench")
    key, chain = authority.issue_server(["127.0.0.1"])
    (directory / "sink.key").write_bytes(key)
    (directory / "sink.crt").write_bytes(chain)
    (directory / "ca.crt").write_bytes(authority.cert_pem)
    client_key, request = new_client_request("bench")
    certificate = authority.issue_client(request, party_uri("bench", "member", "bench"))
    port = free_ports(1)
    command = [sys.executable, __file__, "--sink", str(directory), "--port", str(port)]
    with subprocess.Popen(command) as process:
        try:
            with connect(f"127.0.0.1:{port}", Credentials(authority.cert_pem, certificate, client_key)) as channel:
                grpc.channel_ready_future(channel).result(30)
                call = channel.stream_unary(SINK, submissions_pb2.UploadChunk.SerializeToString, bytes)

                def chunks() -> Iterator[submissions_pb2.UploadChunk]:
                    with path.open("rb") as file:
                        while data := file.read(CHUNK):
                            yield submissions_pb2.UploadChunk(data=data)

                began = time.perf_counter()
                call(chunks(), timeout=3600)
                return time.perf_counter() - began
        finally:
            process.terminate()


async def sink(directory: Path, port: int) -> None:
    async def swallow(requests: Any, context: Any) -> bytes:
        async for _ in requests:
            pass
        return b""

    handler = grpc.stream_unary_rpc_method_handler(swallow, submissions_pb2.UploadChunk.FromString, bytes)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 8 << 20)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("benchmark.Sink", {"Upload": handler})])
    pair = ((directory / "sink.key").read_bytes(), (directory / "sink.crt").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (directory / "ca.crt").read_bytes(), require_client_auth=True)
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    await server.wait_for_termination()


def alone(path: Path) -> float:
    began = time.perf_counter()
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            hasher.update(data)
    return time.perf_counter() - began


def resident(pid: int, field: str = "VmRSS") -> float:
    """MiB of memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


def enrolled(settings: Any, directory: Path, name: str) -> Coalition:
    """A new member, connected."""
    said = run([BIN / "coalition-hub", "invite", settings.directory, "--organisation", name, "--json"])
    home = Home(directory / name)
    token = Invitation.decode(json.loads(said)["token"])
    home.save_enrolment(enrol("127.0.0.1", token, "member", home.artifact_key()), f"127.0.0.1:{settings.port}")
    return Coalition(home)


def measure(directory: Path, options: argparse.Namespace) -> None:
    port = free_ports(3)
    settings = setup.create(directory / "hub", "bench", host="127.0.0.1", bind="127.0.0.1", port=port)
    with (directory / "hub.log").open("wb") as log:
        hub = subprocess.Popen([BIN / "coalition-hub", "serve", settings.directory], stdout=log, stderr=log)
    try:
        while not (answers(port) and answers(port + 1)):
            time.sleep(0.2)
        print(
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; the hub at rest: {resident(hub.pid):.0f} MiB"
        )
        if options.concurrent:
            many(directory, settings, hub.pid, options)
        else:
            one(directory, settings, hub.pid, options)
    except BaseException:
        print((directory / "hub.log").read_text()[-2000:])
        raise
    finally:
        hub.terminate()
        hub.wait()


def one(directory: Path, settings: Any, pid: int, options: argparse.Namespace) -> None:
    path, times = directory / "file", {"upload": [], "bare gRPC": [], "sha256": []}  # type: ignore[var-annotated]
    with enrolled(settings, directory, "member-1") as member:
        for number in range(options.rounds):
            make_file(path, options.megabytes << 20, number)
            times["upload"].append(send(member, path, f"noise-{number}"))
            times["bare gRPC"].append(bare(directory, path))
            times["sha256"].append(alone(path))
    speeds = {name: options.megabytes * 1.048576 / statistics.median(each) for name, each in times.items()}
    for name, speed in speeds.items():
        print(f"{name:10} {speed:8.0f} MB/s   upload / {name}: {speeds['upload'] / speed:.2f}")
    print(f"the hub's memory: {resident(pid):.0f} MiB, at most {resident(pid, 'VmHWM'):.0f} MiB")


def many(directory: Path, settings: Any, pid: int, options: argparse.Namespace) -> None:
    few = [enrolled(settings, directory, f"member-{number}") for number in range(min(10, options.concurrent))]
    members = [few[number % len(few)] for number in range(options.concurrent)]
    paths = [directory / f"file-{number}" for number in range(options.concurrent)]
    for number, path in enumerate(paths):
        make_file(path, options.megabytes << 20, number)
    began = time.perf_counter()
    with futures.ThreadPoolExecutor(options.concurrent) as pool:
        list(pool.map(send, members, paths, [f"noise-{number}" for number in range(options.concurrent)]))
    speed = options.concurrent * options.megabytes * 1.048576 / (time.perf_counter() - began)
    print(f"{options.concurrent} uploads at once: {speed:.0f} MB/s together, clients' hashing included")
    print(f"the hub's memory: {resident(pid):.0f} MiB, at most {resident(pid, 'VmHWM'):.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrent", type=int, default=0)
    parser.add_argument("--sink", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        asyncio.run(sink(options.sink, options.port))
        return
    with tempfile.TemporaryDirectory(prefix="coalition-bench-") as folder:
        measure(Path(folder), options)


if __name__ == "__main__":
    main()
