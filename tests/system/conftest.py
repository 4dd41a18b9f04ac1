"""A small coalition of real processes: hub, two node agents, two members with their sites. Parties are killed and come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contributors.demo.parties import BIN, Party, answers, free_ports, run
from trust.errors import Problem

MEMBERS = ("law-institute", "university")
PATIENCE = 1200.0
"""Seconds after which nothing comes any more, however many others use the machine."""
RUN = """
name = "small"
[architecture]
vocab_size = 512
hidden_size = 32
intermediate_size = 64
layers = 2
heads = 2
kv_heads = 1
context_length = 64
[training]
steps = {steps}
batch_size = 4
sequence_length = 64
learning_rate = 1e-2
checkpoint_every = {every}
[placement]
nodes = 2
"""
CAMPAIGN = """
name = "small-rounds"
base_model = "{base}"
rounds = 2
minimum_members = 2
[adapter]
rank = 4
alpha = 8
[training]
steps = 3
batch_size = 4
sequence_length = 64
learning_rate = 1e-3
"""


@dataclass
class Coalition:
    """Everyone's commands, and their processes by name."""

    directory: Path
    port: int
    core: Party
    members: dict[str, Party]
    commands: dict[str, tuple[Sequence[object], dict[str, str]]] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def hub(self) -> Path:
        return self.directory / "hub"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, name: str, command: Sequence[object] = (), **environment: str) -> None:
        """Start a party; without a command, the way it was started before."""
        if command:
            self.commands[name] = (command, environment)
        command, environment = self.commands[name]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """kill -9, of the process itself alone: its children must notice by themselves."""
        os.kill(self.running[name].pid, signal.SIGKILL)
        self.running.pop(name).wait()

    def stop(self) -> None:
        for process in reversed(list(self.running.values())):
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """A hub that is just being restarted counts as not ready."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if ready():
                    return
            except Problem:
                pass
            if time.monotonic() > deadline:
                logs = {path.name: path.read_text(errors="replace")[-1500:] for path in self.directory.glob("*.log")}
                raise AssertionError(f"{what}: not within {seconds} s\n" + json.dumps(logs, indent=1))
            time.sleep(0.5)

    def start_hub(self) -> None:
        self.start("hub", [BIN / "coalition-hub", "serve", self.hub], OMP_NUM_THREADS="1")
        self.wait("the hub's start", lambda: answers(self.port) and answers(self.port + 1))

    def hub_command(self, *arguments: object) -> Any:
        return json.loads(run([BIN / "coalition-hub", *arguments, "--json"]))

    def enrol(self, party: Party, organisation: str, role: str) -> None:
        token = self.hub_command("invite", self.hub, "--organisation", organisation, "--role", role)["token"]
        party.coalition("enrol", "--hub", self.address, COALITION_TOKEN=token)

    def launch(self, steps: int, every: int) -> str:
        spec = self.directory / f"run-{steps}-{every}.toml"
        spec.write_text(RUN.format(steps=steps, every=every))
        return str(self.core.coalition("run", "launch", spec)["id"])

    def show_run(self, identifier: str) -> dict[str, Any]:
        return dict(self.core.coalition("run", "show", identifier))


def _texts() -> list[str]:
    """Real text that every installation has: the standard library's own sources."""
    return [text for text in Path(os.__file__).read_text().split("\n\n") if len(text) > 40]


def _write_parts(folder: Path, texts: list[str]) -> None:
    """A third to submit, a third to keep, a third to evaluate with."""
    for name, part in (("data", texts[0::3]), ("private", texts[1::3])):
        (folder / name).mkdir(parents=True)
        rows = "".join(json.dumps({"text": text}) + "\n" for text in part)
        (folder / name / "text.jsonl").write_text(rows)
    suite = folder / "suite"
    suite.mkdir()
    (suite / "reading.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[2::3][:15]))
    tasks = [{"name": "reading", "kind": "perplexity", "data": "reading.jsonl"}]
    description = {"format": "coalition-suite/v1", "name": f"{folder.name}-exam", "version": "1", "domain": "code"}
    more = {"licence": "PSF-2.0", "description": "Held-out sources.", "tasks": tasks}
    (suite / "suite.json").write_text(json.dumps({**description, **more}))


@pytest.fixture(scope="module")
def coalition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coalition]:
    """Enrolled, with data and suites submitted, nodes attached; sites not started yet."""
    directory = tmp_path_factory.mktemp("coalition")
    parties = {name: Party(name, directory / name / "home") for name in MEMBERS}
    found = Coalition(directory, free_ports(3), Party("core", directory / "core" / "home"), parties)
    found.hub_command("init", found.hub, "--name", "small-coalition", "--port", found.port)
    try:
        found.start_hub()
        found.enrol(found.core, "Core Team", "core")
        texts = _texts()
        for number, (name, party) in enumerate(parties.items()):
            found.enrol(party, name, "contributor")
            _write_parts(directory / name, texts[number::2])
            described = ("--name", "sources", "--domain", "code", "--licence", "PSF-2.0")
            party.coalition("data", "submit", directory / name / "data", *described)
            kept = ("--category", "private", "--jurisdiction", "EU")
            described = ("--name", "kept-sources", *described[2:])
            party.coalition("data", "submit", directory / name / "private", *described, *kept)
            party.coalition("suite", "submit", directory / name / "suite")
        for node in ("node-1", "node-2"):
            token = found.hub_command("invite", found.hub, "--organisation", "Core Team", "--node", node)["token"]
            command = [BIN / "coalition-hub", "node", directory / node, "--hub", found.address, "--name", node]
            found.start(node, command, COALITION_TOKEN=token, OMP_NUM_THREADS="1")
        yield found
    finally:
        found.stop()
