"""Upload speed: one file through a real hub over mutual TLS, durable at the end, against a bare gRPC stream of the same chunks,
against SHA-256 alone and against the disk alone. `--concurrent N` sends N files of ten members at once.

    python -m benchmarks.upload [--megabytes 1024] [--rounds 3] [--concurrent 100]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
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

from benchmarks._hub import Served, serving
from contributors.client import Coalition
from contributors.demo.parties import free_ports
from protos.coalition.v1 import submissions_pb2
from protos.coalition.v1.submissions_pb2_grpc import SubmissionsStub
from protos.documents.submissions import Dataset
from protos.transport.channel import Credentials, connect
from protos.transport.uploads import Source
from trust.certificates import Authority, new_client_request, party_uri
from trust.digests import CHUNK

SINK = "/benchmark.Sink/Upload"


def make_file(path: Path, size: int, seed: int) -> None:
    block = os.urandom(CHUNK - 8)
    with path.open("wb") as file:
        for number in range(size // CHUNK):
            file.write((seed * 1_000_003 + number).to_bytes(8, "big") + block)


def send(member: Coalition, path: Path, name: str) -> float:
    """Seconds from the first chunk until the hub says that the whole file is durable; it was hashed to be signed for."""
    source = Source(path)
    digest = source.digest()
    claim = Dataset.read(
        {
            "hub": member.identity.hub,
            "signer": member.identity.id,
            "name": name,
            "domain": "law",
            "licence": "CC-BY-4.0",
            "provenance": "noise for a benchmark",
            "rows": 1,
            "files": [{"path": "data.jsonl", "digest": digest, "size": source.size, "rows": 1}],
        }
    )
    stub = SubmissionsStub(member.channel)
    opened = stub.Open(member.sign(claim), timeout=60)
    began = time.perf_counter()
    done = stub.Upload(source.chunks(opened.id, digest, 0, lambda count: None), timeout=3600)
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
    command = [sys.executable, "-m", "benchmarks.upload", "--sink", str(directory), "--port", str(port)]
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


def written(path: Path, copy: Path) -> float:
    """The same bytes into a file through the page cache, and flushed."""
    began = time.perf_counter()
    with path.open("rb") as source, copy.open("wb") as target:
        while data := source.read(CHUNK):
            target.write(data)
        target.flush()
        os.fsync(target.fileno())
    took = time.perf_counter() - began
    copy.unlink()
    return took


def measure(directory: Path, options: argparse.Namespace) -> None:
    with serving(directory) as hub:
        print(
            f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; the hub at rest: {hub.resident():.0f} MiB"
        )
        if options.concurrent:
            many(hub, options)
        else:
            one(hub, options)


def one(hub: Served, options: argparse.Namespace) -> None:
    path, times = hub.directory / "file", {"upload": [], "bare gRPC": [], "sha256": [], "disk": []}  # type: ignore[var-annotated]
    with hub.member("member-1") as member:
        for number in range(options.rounds):
            make_file(path, options.megabytes << 20, number)
            os.sync()  # what making the file left to write would be written beside what is measured
            times["upload"].append(send(member, path, f"noise-{number}"))
            times["bare gRPC"].append(bare(hub.directory, path))
            times["sha256"].append(alone(path))
            times["disk"].append(written(path, hub.directory / "copy"))
    speeds = {name: options.megabytes * 1.048576 / statistics.median(each) for name, each in times.items()}
    for name, speed in speeds.items():
        print(f"{name:10} {speed:8.0f} MB/s   upload / {name}: {speeds['upload'] / speed:.2f}")
    print(f"the hub's memory: {hub.resident():.0f} MiB, at most {hub.resident('VmHWM'):.0f} MiB")


def many(hub: Served, options: argparse.Namespace) -> None:
    few = [hub.member(f"member-{number}") for number in range(min(10, options.concurrent))]
    members = [few[number % len(few)] for number in range(options.concurrent)]
    paths = [hub.directory / f"file-{number}" for number in range(options.concurrent)]
    for number, path in enumerate(paths):
        make_file(path, options.megabytes << 20, number)
    began = time.perf_counter()
    with futures.ThreadPoolExecutor(options.concurrent) as pool:
        list(pool.map(send, members, paths, [f"noise-{number}" for number in range(options.concurrent)]))
    speed = options.concurrent * options.megabytes * 1.048576 / (time.perf_counter() - began)
    print(f"{options.concurrent} uploads at once: {speed:.0f} MB/s together, clients' hashing included")
    print(f"the hub's memory: {hub.resident():.0f} MiB, at most {hub.resident('VmHWM'):.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
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
