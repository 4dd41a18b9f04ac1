"""Flower's SuperNode for this site: `python -m contributors.site.supernode HOME SUPERLINK PORT`.

Seven departures from `flower-supernode` (flwr 1.41). A SuperNode that was killed stays "online" at the SuperLink for up to a
minute and may not come back before: with our key we first say that it is gone. It waits for news (`handover`), not three seconds
for messages and half a second for the answer. It waits for a slow link, and pushes an update's parts as it reads them. It takes
requests in one piece, and past layers that do nothing for it. It hashes nothing on its way through: the training process holds
every file to its digest, the SuperLink every part. And when a message got lost on its way in (its run was stopped, say), it ends,
to be started afresh: Flower would keep the message's task, for whose parts its training process would wait.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import DeactivateNodeRequest
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.object_store import object_store_factory
from flwr.supercore.object_store.in_memory_object_store import InMemoryObjectStore
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supernode import main as main_app
from flwr.supernode import start_client_internal
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from contributors.site.children import die_with_parent
from contributors.site.handover import Handover, Held
from contributors.site.pace import Pace, pull_quickly
from protos.transport.bodies import Whole
from protos.transport.layers import needed
from protos.transport.memory import settle
from protos.transport.pushing import push
from trust.keys import read_secret_file

POLL = 0.5  # seconds between two looks at the most
STALLED = 120.0  # seconds without a byte to or from the SuperLink: on a slow link an answer is behind what the system has in hand


def main(home: Path, superlink: str, port: int, node: int) -> None:
    """Serve until a signal."""
    _say_gone(home, superlink, node)
    pace, handover = Pace(POLL), Handover()
    pull = _ending_when_lost(start_client_internal._pull_and_store_message, pace, handover)
    start_client_internal._pull_and_store_message = pull
    start_client_internal.time = SimpleNamespace(sleep=lambda seconds: handover.wait_for_answer(pace.pause()))
    pull_quickly()
    object_store_factory.InMemoryObjectStore = partial(InMemoryObjectStore, verify=False)
    start_client_internal.push_object_contents_from_iterable = push
    ProtobufClient.__init__.__kwdefaults__.update(timeout=STALLED)
    main_app.create_app = _served(main_app.create_app, handover)
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
    settle()
    flower_supernode()


def _served(create: Callable[..., Any], handover: Handover) -> Callable[..., Any]:
    """Flower's app for our training process: it gets each request whole, since an update comes in one piece, and holds questions
    for tasks until there are some."""

    def app(**given: Any) -> Any:
        created = create(**given)
        created.user_middleware[:] = needed(created.user_middleware)
        created.add_middleware(Held, handover=handover)
        created.add_middleware(Whole)
        return created

    return app


def _ending_when_lost(pull: Callable[..., int | None], pace: Pace, handover: Handover) -> Callable[..., int | None]:
    """`pull` answers None when there was no message; when there was one nevertheless, it is lost. A message restarts the pace."""

    def pull_or_end(*, receive: Callable[[], Any], **rest: Any) -> int | None:
        received = False

        def noticing() -> Any:
            nonlocal received
            message = receive()
            received = message is not None
            return message

        run = pull(receive=noticing, **rest)
        if run is None and received:
            os.kill(os.getpid(), signal.SIGTERM)
        if run is not None:
            pace.restart()
            handover.task_came()
        return run

    return pull_or_end


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
    die_with_parent()
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
