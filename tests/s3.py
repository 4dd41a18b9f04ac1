"""A server that speaks S3 (moto's) on loopback, for tests of the object store."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.error import URLError

import pytest

SECONDS = 120.0


@dataclass(frozen=True)
class S3:
    """The server. `environment` is what points a client at it."""

    port: int
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self) -> str:
        """The URL of a new bucket's folder."""
        name = f"coalition-{secrets.token_hex(6)}"
        self.request("PUT", name)
        return f"s3://{name}/blobs"

    def request(self, method: str, path: str, data: bytes | None = None) -> bytes:
        asked = urllib.request.Request(f"{self.url}/{path}", data, method=method)  # noqa: S310  (our own server)
        with urllib.request.urlopen(asked) as answer:  # noqa: S310
            return bytes(answer.read())


@contextmanager
def server() -> Iterator[S3]:
    """Skips the test where moto is not installed."""
    if find_spec("moto") is None:
        pytest.skip("moto, which serves S3, is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            started = S3(port, environment)
            _wait(started)
            yield started
        finally:
            process.terminate()


def _wait(started: S3) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            started.request("GET", "")
            return
        except (URLError, ConnectionError):
            assert time.monotonic() < deadline, "moto did not start"
            time.sleep(0.1)
