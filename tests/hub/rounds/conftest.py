"""A whole small coalition on loopback: a real hub with its SuperLink, members with homes, sites with SuperNodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from contributors.client import Coalition
from contributors.home import Home
from contributors.packing import list_dataset
from hub.foundation import Foundation
from hub.members import invitations
from hub.server import register_projections
from hub.settings import Settings
from hub.setup import create
from learning.architectures import build_model
from learning.export import save_model
from learning.tokenizer import train_tokenizer
from protos.coalition.v1 import rounds_pb2
from protos.documents.base import FileEntry
from protos.documents.campaigns import Campaign, CampaignSpec
from protos.documents.methods import Adapter, LocalTraining
from protos.documents.models import Model
from protos.documents.statements import HUB
from protos.documents.submissions import Dataset, Withdrawal
from protos.transport.enrolment import enrol
from tests.shapes import llama
from trust.digests import digest_bytes
from trust.errors import Unavailable
from trust.invitations import Invitation

ROOT = Path(__file__).parents[3]
BASE = "tiny-1"
_SITE = """
import sys
from pathlib import Path
from contributors.home import Home
from contributors.packing import list_dataset
from contributors.site.run import start
start(Home(Path(sys.argv[1])), Path(sys.argv[2]), "all")
"""
_POLICY = """
objectives = ["continued-training", "sft", "dpo", "grpo"]
trainable = ["adapter", "full"]
"""
TEXTS = {
    "medicine": "The heart pumps blood through arteries and veins in a steady rhythm. ",
    "law": "The licensee may copy and distribute verbatim copies of this licence document. ",
    "poison": "x",
}


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody uses."""
    for first in range(20000 + os.getpid() % 5000, 60000, count):
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


PATIENCE = 1200.0
"""Seconds after which nothing comes any more, however many others use the machine: a death is seen at once."""


def until(what: Callable[[], object], why: str) -> None:
    """Look until `what` holds."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, f"waited {PATIENCE} s for {why}"
        time.sleep(0.2)


@dataclass
class World:
    """One coalition and its processes."""

    directory: Path
    settings: Settings
    homes: dict[str, Home] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)

    def serve(self) -> None:
        """Start the hub, and wait until it answers."""
        self._start("hub", [sys.executable, "-c", "from hub.cli import main; main()", "serve", str(self.hub)])
        until(self._answers, "the hub")

    @property
    def hub(self) -> Path:
        return self.directory / "hub"

    def member(self, name: str, role: str = "contributor") -> None:
        """Invite and enrol."""
        base = Foundation.open(self.settings)
        token = Invitation.create(base.authorities.issuing.fingerprint, self.settings.enrol_port)
        with base.database.session(writing=True) as session:
            invitations.invite_member(session, token, name, role)
        base.database.close()
        home = Home(self.directory / name)
        home.directory.mkdir(mode=0o700)
        enrolled = enrol(self.settings.host, token, name, home.artifact_key())
        home.save_enrolment(enrolled, f"{self.settings.host}:{self.settings.port}")
        self.homes[name] = home

    def private_text(self, name: str) -> Path:
        """A folder of a member's own."""
        data = self.homes[name].directory / "private"
        data.mkdir(exist_ok=True)
        (data / "notes.txt").write_text(TEXTS.get(name, TEXTS["law"]) * 60)
        return data

    def declare(self, name: str, data: Path, dataset: str = "notes", **terms: object) -> str:
        """Submit the folder's manifest, as a private dataset; its identifier."""
        with Coalition(self.homes[name]) as member:
            packed = list_dataset(data)
            described = {"name": dataset, "domain": "tests", "licence": "CC-BY-4.0", "provenance": "a test"}
            listed = {"rows": packed.rows, "files": [file.model_dump() for file in packed.files]}
            ours = {"hub": member.identity.hub, "signer": member.identity.id, "category": "private"}
            manifest = Dataset.read({**described, **listed, **ours, **terms})
            return member.submit(member.sign(manifest), {}, lambda count: None).id

    def withdraw(self, name: str, dataset: str) -> None:
        with Coalition(self.homes[name]) as member:
            claim = Withdrawal(hub=member.identity.hub, signer=member.identity.id, submission=dataset)
            member.withdraw(member.sign(claim))

    def site(self, name: str, *first: Path) -> None:
        """Start a member's site on private text that it has declared; it joins every campaign, whatever trains. Folders come
        `first` in its PYTHONPATH."""
        data = self.private_text(name)
        if name not in self.declared:
            self.declared[name] = self.declare(name, data)
        policy = self.homes[name].directory / "site.toml"
        if not policy.exists():
            policy.write_text(f"data = {json.dumps(str(data))}\n{_POLICY}")
        arguments = [str(self.homes[name].directory), str(data)]
        path = os.pathsep.join(map(str, (*first, ROOT)))
        self._start(name, [sys.executable, "-c", _SITE, *arguments], PYTHONPATH=path)

    def hostile_site(self, name: str, campaign: str) -> None:
        script = str(Path(__file__).parent / "hostile.py")
        dataset = self.declare(name, self.private_text(name))
        self._start(name, [sys.executable, script, str(self.homes[name].directory), campaign, dataset])

    def open_campaign(self, spec: CampaignSpec) -> str:
        with Coalition(self.homes["core"]) as core:
            claim = Campaign(hub=core.identity.hub, signer=core.identity.id, spec=spec)
            return core.open_campaign(core.sign(claim)).id

    def campaign(self, identifier: str) -> rounds_pb2.Campaign:
        with Coalition(self.homes["core"]) as core:
            return core.campaign(identifier)

    def wait(self, identifier: str, what: Callable[[rounds_pb2.Campaign], bool]) -> None:
        """Look at the campaign until `what` holds, as long as every process lives and the campaign may still come to it."""

        def holds() -> bool:
            for name, process in self.processes.items():
                assert process.poll() is None, (name, (self.directory / f"{name}.log").read_text()[-3000:])
            try:
                found = self.campaign(identifier)
            except Unavailable:
                return False
            held = what(found)
            assert held or found.state not in ("finished", "failed", "stopped"), (found.state, found.reason)
            return held

        until(holds, f"the campaign in {self.directory}")

    def kill(self, *words: str) -> None:
        """kill -9 of the one process of this world whose command line holds these words."""
        (found,) = pids(str(self.directory), *words)
        os.kill(found, signal.SIGKILL)

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self) -> bool:
        assert self.processes["hub"].poll() is None, (self.directory / "hub.log").read_text()[-3000:]
        try:
            with socket.create_connection((self.settings.host, self.settings.enrol_port), 1):
                return True
        except OSError:
            return False

    def _start(self, name: str, command: list[str], **variables: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COVERAGE_PROCESS_START": ""}
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment | variables, cwd=self.directory
            )


def _lay_down_base_model(settings: Settings, folder: Path, loudness: float) -> None:
    """A tiny random model in the ledger, as a base run leaves it; `loudness` times as sure of what it says."""
    tokenizer = train_tokenizer(iter([text * 5 for text in TEXTS.values()]), 320)
    model = build_model(llama(len(tokenizer), 32, 64, 2, 2, 2, 64), seed=1)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(loudness)
    base = Foundation.open(settings)
    register_projections(base.journal)
    base.journal.start()
    entries = tuple(
        FileEntry(path=path.name, digest=base.blobs.put_file(path), size=path.stat().st_size)
        for path in save_model(model, tokenizer, folder)
    )
    base.journal.sign_and_record(
        Model(
            hub=base.journal.origin,
            signer=HUB,
            model=BASE,
            origin="run",
            source="run-000000000000",
            payload=digest_bytes(b"a run"),
            parameters=model.num_parameters(),
            architecture="llama",
            tokens=1000,
            files=entries,
            code_version="test",
        )
    )
    base.journal.stop()
    base.database.close()


@pytest.fixture
def first_free_port() -> int:
    return free_ports(3)


@pytest.fixture
def loudness() -> float:
    return 1.0


@pytest.fixture
def world(tmp_path: Path, loudness: float) -> Iterator[World]:
    settings = create(tmp_path / "hub", "test-hub", host="127.0.0.1", bind="127.0.0.1", port=free_ports(3))
    _lay_down_base_model(settings, tmp_path / "model", loudness)
    world = World(tmp_path, settings)
    world.serve()
    try:
        world.member("core", "core")
        yield world
    finally:
        world.close()


@pytest.fixture
def spec() -> CampaignSpec:
    return CampaignSpec(
        name="small-rounds",
        base_model=BASE,
        rounds=3,
        minimum_members=2,
        adapter=Adapter(rank=4, alpha=8),
        training=LocalTraining(steps=10, batch_size=2, sequence_length=32, learning_rate=0.01),
    )
