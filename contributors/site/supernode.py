"""Flower's SuperNode for this site: `python -m contributors.site.supernode HOME SUPERLINK PORT`.

Two departures from `flower-supernode`. A SuperNode that was killed stays "online" at the SuperLink for up to a minute and may
not come back before: with our key we first say that it is gone. And it looks for messages every half second, not every
three (`time.sleep(3)` in flwr 1.41's start_client_internal).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import DeactivateNodeRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supernode import start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from trust.keys import read_secret_file

POLL = 0.5


def main(home: Path, superlink: str, port: int, node: int) -> None:
    """Serve until a signal."""
    _say_gone(home, superlink, node)
    start_client_internal.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, POLL)))
    sys.argv = [
        "flower-supernode",
        f"--superlink={superlink}",
        f"--root-certificates={home / 'tls' / 'ca.crt'}",
        f"--auth-supernode-private-key={home / 'keys' / 'site.key'}",
        "--isolation=process",
        f"--superexec-auth-secret-file={home / 'site' / 'secret'}",
        "--host=127.0.0.1",
        f"--port={port}",
    ]
    flower_supernode()


def _say_gone(home: Path, superlink: str, node: int) -> None:
    """End the activation of an earlier SuperNode with our key, if there is one."""
    key = load_ssh_private_key(read_secret_file(home / "keys" / "site.key"), None)
    auth = NodeAuthHttpInterceptor(key, key.public_key())
    version = RuntimeVersionHttpInterceptor(component_name="SuperNode")
    authority = (home / "tls" / "ca.crt").read_bytes()
    try:
        with FleetHttpClient.from_server_address(superlink, False, authority, interceptors=[version, auth]) as client:
            client.DeactivateNode(DeactivateNodeRequest(node_id=node))
    except httpx.HTTPError:
        return  # nothing was active, or the SuperLink is away: the SuperNode itself will say


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
