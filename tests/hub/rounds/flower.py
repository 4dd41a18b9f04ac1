"""Flower's SuperLink in this process as the hub serves it, with real clients of its APIs and no network between."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from flwr.app import Message, RecordDict
from flwr.common.serde import message_to_proto, run_from_proto
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import PullTaskInputRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import RuntimeTokenHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink import main as superlink
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from contributors.site.keys import _load, site_key
from hub.rounds import control, fab
from hub.rounds.grid import Grid
from hub.rounds.sites import read_public_key
from hub.rounds.superlink_process import layered
from trust.certificates import Authority

SECRET = b"secret"


class Asked(httpx.BaseTransport):
    """Asks the app itself."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def ask() -> httpx.Response:
            given = httpx.Request(request.method, request.url, headers=request.headers, content=request.read())
            answer = await httpx.ASGITransport(self._app).handle_async_request(given)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        return asyncio.run(ask())


class Flower:
    """One SuperLink with a run that a server app's `grid` leads, whose replies have at most `most` bytes."""

    def __init__(self, database: Path, monkeypatch: Any, most: int) -> None:
        monkeypatch.setenv("FLWR_DATABASE", str(database))
        self._folder = database.parent
        monkeypatch.setattr(superlink, "_get_middleware", layered(superlink._get_middleware))
        self._app = superlink.create_app()
        self._app.state.superexec_auth_secret = SECRET
        self._app.state.enable_supernode_auth = True
        self._control = self.client(ControlHttpClient)
        self.run = control.start_run(self._control, fab.build())
        auth = SuperExecAuthHttpInterceptor(master_secret=SECRET, protected_methods={control.ACQUIRE})
        acquired = control.acquire_server_task(self.client(RuntimeHttpClient, auth))
        assert acquired is not None
        self.grid = self._grid(acquired[1], most)

    def _grid(self, token: str, most: int) -> Grid:
        grid = Grid("flower", Authority.create("test-hub").cert_pem, token, self._folder)
        grid.most = most
        headers = grid._runtime_client._client.headers
        grid._client = self.client(RuntimeHttpClient, RuntimeTokenHttpInterceptor(token=token))
        grid._client._client.headers.update(headers)
        given = grid._client.PullTaskInput(PullTaskInputRequest())
        TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
        TaskIdentity.node_id = given.context.node_id
        grid.set_run(run_from_proto(given.run))
        return grid

    def client(self, kind: Any, *interceptors: Any) -> Any:
        client = kind("https://flower", interceptors=[control._version(), *interceptors])
        client._client = httpx.Client(transport=Asked(self._app))
        return client

    def fetch(self, message: str) -> None:
        """As when the server app has taken a message in."""
        self._app.state.linkstate_factory.state().object_store.delete(message)

    def site(self, home: Path) -> Site:
        key = site_key(home)
        node = control.register_node(self._control, read_public_key(key.public_line))
        private = _load(key.private_path)
        fleet = self.client(FleetHttpClient, NodeAuthHttpInterceptor(private, private.public_key()))
        return Site(fleet, self.run, node, read_public_key(key.public_line))


class Site:
    """A SuperNode's calls, as anybody may make them who holds a site's key."""

    def __init__(self, fleet: Any, run: int, node: int, public_key: bytes) -> None:
        self.fleet, self.run, self.node = fleet, run, Node(node_id=node)
        fleet.ActivateNode(ActivateNodeRequest(public_key=public_key, heartbeat_interval=30))

    def take(self) -> Any:
        """The message that waits for it."""
        (message,) = self.fleet.PullMessages(PullMessagesRequest(node=self.node)).messages_list
        return message

    def answer(self, message: Any, tree: ObjectTree) -> str:
        """Announce a reply of these objects; the session in which they may be pushed."""
        reply = message_to_proto(Message(RecordDict(), dst_node_id=1, message_type="train"))
        reply.metadata.CopyFrom(message.metadata)
        reply.metadata.message_id, reply.metadata.reply_to_message_id = tree.object_id, message.metadata.message_id
        reply.metadata.src_node_id, reply.metadata.dst_node_id = self.node.node_id, message.metadata.src_node_id
        pushed = PushMessagesRequest(node=self.node, messages_list=[reply], message_object_trees=[tree])
        return str(self.fleet.PushMessages(pushed).session_id)

    def push(self, session: str, name: str, content: bytes) -> bool:
        """Whether an object was stored."""
        asked = PushObjectRequest(
            node=self.node, run_id=self.run, session_id=session, object_id=name, object_content=content
        )
        return bool(self.fleet.PushObject(asked).stored)
