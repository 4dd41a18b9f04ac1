"""A real hub with two node agents on loopback, and one dataset; parties are killed and come back."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contributors.cli.terminal import as_dict
from contributors.client import Coalition
from contributors.demo.parties import BIN, Party, run
from contributors.home import Home
from trust.errors import Problem

SPEC = """
name = "tiny"
[architecture]
{architecture}
vocab_size = 512
hidden_size = 32
intermediate_size = 64
layers = 2
heads = 2
kv_heads = 1
context_length = 64
[training]
steps = {steps}
batch_size = {batch}
sequence_length = 64
learning_rate = 1e-2
{training}
checkpoint_every = {every}
[placement]
{placement}
"""


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that nobody uses now."""
    for first in random.sample(range(33_000, 60_000, count), 100):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports")


def pids(*words: str) -> list[int]:
    """Processes whose command line holds all of these words."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and all(word in line for word in words):
            found.append(int(entry.name))
    return found


@dataclass
class Cluster:
    """The hub's and the agents' processes by name. Some of them may be in network namespaces of their own."""

    directory: Path
    port: int
    core: Party
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    host: str = "127.0.0.1"
    spaces: dict[str, str] = field(default_factory=dict)
    _member: Coalition | None = None

    def serve(self) -> None:
        self._start("hub", "serve", self.directory / "hub")
        self.wait("the hub", self._answers, 60)

    def attach(self, node: str, *options: str, **environment: str) -> None:
        arguments = ["node", self.directory / node, "--hub", f"{self.host}:{self.port}", "--name", node]
        self._start(node, *arguments, *options, **environment)

    def invite(self, node: str) -> str:
        """The token."""
        command = [
            BIN / "coalition-hub",
            "invite",
            self.directory / "hub",
            "--organisation",
            "Core Team",
            "--node",
            node,
        ]
        return run(command).strip()

    def kill(self, name: str) -> None:
        """kill -9 of the process itself alone: its children must notice by themselves."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def kill_rank(self, node: str) -> None:
        """kill -9 of the node's worker, below torchrun."""
        (worker,) = self.workers(node)
        os.kill(worker, signal.SIGKILL)

    def workers(self, node: str) -> list[int]:
        """The node's torchrun workers."""
        return [
            pid for pid in pids("hub.training.rank", f"{self.directory / node}/") if pid not in self._launchers(node)
        ]

    def _launchers(self, node: str) -> list[int]:
        return pids("torch.distributed.run", f"{self.directory / node}/")

    def launch(
        self,
        steps: int,
        every: int,
        batch: int = 4,
        architecture: str = "",
        training: str = "",
        placement: str = "nodes = 2",
        more: str = "",
    ) -> str:
        """A run of the tiny spec; `architecture`, `training` and `placement` are further lines of those tables, `more` further
        tables."""
        spec = self.directory / "run.toml"
        lines = {"architecture": architecture, "training": training, "placement": placement}
        spec.write_text(SPEC.format(steps=steps, every=every, batch=batch, **lines) + more)
        return str(self.core.coalition("run", "launch", spec)["id"])

    def show(self, identifier: str) -> dict[str, Any]:
        """What `coalition run show --json` prints, by a connection that stays: a process for each look takes a processor."""
        if self._member is None:
            self._member = Coalition(Home(self.core.home))
        return as_dict(self._member.run(identifier))

    def said(self, identifier: str) -> list[str]:
        """Every message about a run that has ended."""
        return [event["message"] for event in self.told(identifier)]

    def told(self, identifier: str) -> list[dict[str, Any]]:
        """The events of these."""
        return [event for event in self.core.follow("run", "watch", identifier) if event["message"]]

    def wait(self, what: str, ready: Callable[[], object], seconds: float = 180) -> None:
        """A hub that is just being restarted counts as not ready."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if ready():
                    return
            except Problem:
                pass
            if time.monotonic() > deadline:
                logs = [f"--- {path.name}\n{path.read_text()[-2500:]}" for path in self.directory.glob("*.log")]
                raise AssertionError(f"{what}: not within {seconds} s\n" + "\n".join(logs))
            time.sleep(0.3)

    def close(self) -> None:
        if self._member is not None:
            self._member.channel.close()
        for process in reversed(list(self.running.values())):
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port + 1)) == 0

    def _start(self, name: str, *arguments: object, **environment: str) -> None:
        inside = ("ip", "netns", "exec", self.spaces[name]) if name in self.spaces else ()
        command = [str(part) for part in (*inside, BIN / "coalition-hub", *arguments)]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Enrolled, with a dataset, two nodes attached of which the first keeps ranks warm."""
    nodes = {"node-1": ("--warm",), "node-2": ()}
    with attached(tmp_path_factory.mktemp("cluster"), nodes) as cluster:
        yield cluster


@contextmanager
def attached(
    directory: Path,
    nodes: Mapping[str, Sequence[str]],
    host: str = "127.0.0.1",
    spaces: dict[str, str] | None = None,
    lost_after: float = 15.0,
) -> Iterator[Cluster]:
    """A cluster of `nodes` with their options, whose hub is at an address of this machine."""
    cluster = Cluster(directory, free_ports(3), Party("core", directory / "core"), host=host, spaces=spaces or {})
    hub = directory / "hub"
    run(
        [
            BIN / "coalition-hub",
            "init",
            hub,
            "--name",
            "test-hub",
            "--host",
            host,
            "--bind",
            host,
            "--port",
            cluster.port,
        ]
    )
    settings = hub / "hub.toml"
    waits = {"wait_for_nodes = 60.0": "wait_for_nodes = 15.0", "lost_after = 15.0": f"lost_after = {lost_after}"}
    for usual, short in waits.items():
        assert usual in settings.read_text()
        settings.write_text(settings.read_text().replace(usual, short))
    try:
        cluster.serve()
        token = run([BIN / "coalition-hub", "invite", hub, "--organisation", "Core Team", "--role", "core"]).strip()
        cluster.core.coalition("enrol", "--hub", f"{host}:{cluster.port}", "--token", token)
        data = directory / "data"
        data.mkdir()
        texts = [text for text in Path(os.__file__).read_text().split("\n\n") if len(text) > 40]
        (data / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        described = ("--name", "sources", "--domain", "code", "--licence", "PSF-2.0")
        cluster.core.coalition("data", "submit", data, *described)
        for node, options in nodes.items():
            cluster.attach(node, *options, COALITION_TOKEN=cluster.invite(node))
        yield cluster
    finally:
        cluster.close()
