"""The node agent: enrols once, stays attached, works on one task at a time, and repeats what the hub must not miss."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import json
import logging
import signal
import socket
import time
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from hub.training import tasks
from hub.training.evaluating import Evaluating, Evaluations
from hub.training.inventory import health, inventory
from hub.training.launching import Launcher, OnThisMachine
from hub.training.outbox import Outbox
from hub.training.slurm.launcher import BySlurm, Cluster
from hub.training.workplace import LIMIT, Workplace
from protos.coalition.v1 import training_pb2, training_pb2_grpc
from protos.transport.channel import Credentials, check_main_listener, connect, connect_aio, split_address
from protos.transport.enrolment import enrol
from protos.transport.errors import from_rpc_error
from protos.transport.keeping import read_credentials, write_credentials
from protos.transport.renewal import due_at, has_expired, is_due, renew
from trust.errors import Conflict, Denied, Invalid, NotFound, Problem, Unavailable
from trust.files import write_atomic
from trust.invitations import Invitation
from trust.keys import ArtifactPublicKey

HEARTBEAT = 3.0
SHORTEST_PAUSE = 0.5
RENEWAL_PAUSE = 60.0  # seconds after which a renewal that failed is tried again
HUB_KEY = "hub.pem"
LONGEST_PAUSE = 5.0  # seconds between attempts to reach the hub
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Terms:
    """On which an operator lends a machine, or a cluster: labels of their own, bytes of cache, whether runs may see the node's
    key, whether ranks stand by for the next attempt."""

    labels: Mapping[str, str] = field(default_factory=dict)
    cache: int = LIMIT
    show_key: bool = False
    slurm: Cluster | None = None
    warm: bool = False


def main(
    directory: Path, hub: str, name: str, token: str, terms: Terms, evaluations: Evaluations | None = None
) -> None:
    """Run the agent until SIGINT or SIGTERM.

    Raises `NotFound` without an enrolment or a token, `Denied`, `Invalid`, `Conflict` for a second agent in a directory.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        credentials = _credentials(directory, hub, name, token)
        asyncio.run(Agent(directory, hub, name, credentials, terms, evaluations).run())


class Agent:
    """Works on one attempt of one run at a time, and goes on with it while the hub is away. Without a run it evaluates."""

    def __init__(
        self,
        directory: Path,
        hub: str,
        name: str,
        credentials: Credentials,
        terms: Terms,
        evaluations: Evaluations | None = None,
    ) -> None:
        self._hub, self._name, self._credentials, self._terms = hub, name, credentials, terms
        self._directory = directory
        self._place = Workplace(directory, connect(hub, credentials), terms.cache, show_key=terms.show_key)
        self._outbox = Outbox()
        self._slurm = BySlurm(name, terms.slurm) if terms.slurm else None
        self._launcher: Launcher = self._slurm or OnThisMachine(warm=terms.warm)
        self._run, self._attempt = "", 0
        self._task: asyncio.Task[None] | None = None
        self._evaluating = Evaluating(evaluations, self._place, self._outbox.put) if evaluations else None

    async def run(self) -> None:
        """Stay attached until a signal comes. Raises `Denied` when the hub no longer knows this node."""
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        attached = asyncio.create_task(self._stay_attached())
        waiting = asyncio.create_task(stopped.wait())
        beside = [asyncio.create_task(self._slurm.attend())] if self._slurm else []
        await asyncio.wait([attached, waiting], return_when=asyncio.FIRST_COMPLETED)
        await self._drop_task()
        if self._evaluating:
            await self._evaluating.stop()
        for task in (attached, waiting, *beside):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _stay_attached(self) -> None:
        pause = SHORTEST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await asyncio.to_thread(self._keep_fresh)
                offer = await asyncio.to_thread(self._offer)
                if self._slurm:
                    await self._slurm.describe(offer)
                async with connect_aio(self._hub, self._credentials) as channel, self._until_due():
                    async for message in training_pb2_grpc.NodesStub(channel).Attach(self._speak(offer)):
                        await self._obey(message)
                _log.info("the hub ended the conversation")
            except TimeoutError:
                _log.info("the certificate is due for renewal")
            except grpc.RpcError as error:
                problem = from_rpc_error(error)
                _log.warning("%s", problem.diagnostics())
                if isinstance(problem, Denied):
                    raise problem from None
            except (OSError, Unavailable) as error:
                _log.warning("%s", error)
            pause = SHORTEST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def _keep_fresh(self) -> None:
        """Renew the certificate if it is time; a hub that does not do it now is asked again at the next connection."""
        if not is_due(self._credentials):
            return
        key = ArtifactPublicKey.from_pem((self._directory / "tls" / HUB_KEY).read_bytes())
        try:
            self._credentials = renew(self._hub, self._credentials, key, None)
        except Problem as problem:
            _log.warning("%s", problem.diagnostics())
            return
        write_credentials(self._directory / "tls", self._credentials)
        self._place.reconnect(connect(self._hub, self._credentials))

    def _until_due(self) -> asyncio.Timeout:
        """The conversation ends when the certificate is to be renewed, and goes on under the new one."""
        left = (due_at(self._credentials) - dt.datetime.now(dt.UTC)).total_seconds()
        return asyncio.timeout(left if left > 0 else RENEWAL_PAUSE)

    def _offer(self) -> training_pb2.Inventory:
        host, _ = split_address(self._hub)
        own = "127.0.0.1" if host in ("127.0.0.1", "localhost") else _own_host(host)
        return inventory(own, self._terms.labels, self._directory)

    def _health(self) -> str:
        return health(self._directory) or (self._slurm.trouble if self._slurm else "")

    async def _speak(self, offer: training_pb2.Inventory) -> AsyncIterator[training_pb2.NodeMessage]:
        """Hello, what the hub may have missed, then whatever comes up."""
        hello = training_pb2.Hello(inventory=offer, run=self._run, attempt=self._attempt)
        hello.evaluates = self._evaluating is not None
        yield training_pb2.NodeMessage(hello=hello)
        _log.info("node %s is attached to %s", self._name, self._hub)
        for kept in await asyncio.to_thread(list, self._place.kept()):
            yield training_pb2.NodeMessage(kept=kept)
        async with aclosing(self._outbox.conversation(HEARTBEAT, self._health)) as messages:
            async for message in messages:
                yield message

    async def _obey(self, message: training_pb2.HubMessage) -> None:
        match message.WhichOneof("kind"):
            case "prepare":
                await self._begin(message.prepare.run, message.prepare.attempt)
                self._task = asyncio.create_task(tasks.prepare(message.prepare, self._place, self._outbox.put))
            case "train":
                await self._begin(message.train.run, message.train.attempt)
                self._task = asyncio.create_task(
                    tasks.train(message.train, self._place, self._launcher, self._outbox.put)
                )
            case "evaluate" if self._evaluating and self._run:
                self._evaluating.refuse(message.evaluate, "it works on a run")
            case "evaluate" if self._evaluating:
                await self._evaluating.begin(message.evaluate)
            case "stop":
                await self._stop(message.stop)
            case "report":
                await self._report()
            case "registered":
                await asyncio.to_thread(self._place.register, message.registered.run, message.registered.step)
            case "forget":
                runs = [run for run in message.forget.runs if run != self._run]
                await asyncio.to_thread(self._place.drop, message.forget.digests, runs)

    async def _report(self) -> None:
        """Say what is kept here; the hub answers with what of it is to be forgotten."""
        for kept in await asyncio.to_thread(list, self._place.kept()):
            self._outbox.put(training_pb2.NodeMessage(kept=kept))

    async def _begin(self, run: str, attempt: int) -> None:
        if self._evaluating:
            await self._evaluating.stop()
        await self._drop_task()
        self._run, self._attempt = run, attempt
        _log.info("working on %s, attempt %d", run, attempt)

    async def _stop(self, stop: training_pb2.Stop) -> None:
        if stop.run == self._run and (stop.over or stop.attempt == self._attempt):
            _log.info("%s: %s", stop.run, stop.reason)
            await self._drop_task()
        if stop.over:
            await asyncio.to_thread(self._place.forget, stop.run)
            await self._report()

    async def _drop_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._run, self._attempt = "", 0
        self._outbox.forget()


def _credentials(directory: Path, hub: str, name: str, token: str) -> Credentials:
    """The node's certificate; enrolled for with the token the first time."""
    path = directory / "node.toml"
    if path.exists():
        known = tomllib.loads(path.read_text())
        if known["name"] != name:
            raise Invalid(f"{directory} is the node {known['name']}, not {name}.", "Use another directory.")
        if has_expired(read_credentials(directory / "tls")):
            if not token:
                raise Denied(
                    f"The certificate of {name} has expired.", "Ask for another invitation, and give its token."
                )
            _enrol(directory, hub, name, token)
    elif token:
        _enrol(directory, hub, name, token)
    else:
        raise NotFound(f"{directory} is not enrolled.", "Give the invitation: --token, or COALITION_TOKEN.")
    return read_credentials(directory / "tls")


def _enrol(directory: Path, hub: str, name: str, token: str) -> None:
    host, _ = split_address(hub)
    invitation = Invitation.decode(token)
    check_main_listener(hub, invitation.ca_fingerprint)
    enrolled = enrol(host, invitation, name, None)
    if enrolled.role != "node" or enrolled.id != name:
        raise Problem(f"The invitation is for {enrolled.id}, a {enrolled.role}, not for the node {name}.")
    write_credentials(directory / "tls", enrolled.credentials)
    write_atomic(directory / "tls" / HUB_KEY, enrolled.statement_key)
    identity = {"hub": enrolled.hub, "name": enrolled.id, "organisation": enrolled.organisation}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in identity.items())
    write_atomic(directory / "node.toml", text.encode())


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Two agents in one directory would take each other's work away. The lock goes with the process."""
    with (directory / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"An agent runs in {directory} already.", "Stop it, or use another directory.") from None
        yield


def _own_host(hub_host: str) -> str:
    """The address of ours that faces the hub, for other nodes to reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((hub_host, 9))
        return str(probe.getsockname()[0])
