"""A member's machine dies in the middle of an upload, twice. What is sent again is counted on the wire, between both."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contributors.demo.parties import BIN, Party, Processes, answers, run
from tests.dashboards.conftest import free_ports

pytestmark = pytest.mark.system

MIB = 1 << 20
AGAIN = 4 * MIB
"""Bytes that may be sent again after a kill."""


@dataclass
class Wire:
    """A relay on loopback between a member and its hub; it counts what the member sends, and tells at `mark` bytes."""

    to: int
    sent: int = 0
    mark: int = 1 << 62
    reached: threading.Event = field(default_factory=threading.Event)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def relay(self) -> None:
        """Until the listener is closed."""
        while True:
            try:
                member, _ = self.listener.accept()
            except OSError:
                return
            hub = socket.create_connection(("127.0.0.1", self.to))
            for source, target, counts in ((member, hub, True), (hub, member, False)):
                threading.Thread(target=self._carry, args=(source, target, counts), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(64 << 10):
                if counts:
                    self.sent += len(data)
                    if self.sent >= self.mark:
                        self.reached.set()
                target.sendall(data)
        for end in (source, target):  # closed alone, it would stay open while the other direction waits on it
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def expect(self, more: int) -> threading.Event:
        """Set when so many bytes more have come from the member."""
        self.mark, self.reached = self.sent + more, threading.Event()
        return self.reached


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    directory, port = tmp_path / "hub", free_ports(3)
    run([BIN / "coalition-hub", "init", directory, "--name", "europe", "--port", port])
    with Processes(tmp_path / "logs") as processes:
        processes.start("hub", [BIN / "coalition-hub", "serve", directory], OMP_NUM_THREADS="1")
        processes.wait_for("the hub's start", lambda: answers(port) and answers(port + 1), 60)
        yield directory, port


@pytest.fixture
def wire(hub: tuple[Path, int]) -> Iterator[Wire]:
    wire = Wire(hub[1])
    relaying = threading.Thread(target=wire.relay)
    relaying.start()
    yield wire
    wire.listener.shutdown(socket.SHUT_RDWR)
    wire.listener.close()
    relaying.join()


@pytest.fixture
def member(hub: tuple[Path, int], wire: Wire, tmp_path: Path) -> Party:
    invited = run([BIN / "coalition-hub", "invite", hub[0], "--organisation", "Law Institute", "--json"])
    party = Party("law-institute", tmp_path / "home")
    party.coalition("enrol", "--hub", wire.address, COALITION_TOKEN=json.loads(invited)["token"])
    return party


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """24 MiB, no two rows alike."""
    path, dice = tmp_path / "text.jsonl", random.Random(5)
    words = [f"{first}{second}" for first in ("con", "ver", "sta", "par") for second in ("tract", "dict", "tute", "ty")]
    with path.open("w") as file:
        while file.tell() < 24 * MIB:
            row = " ".join(dice.choices(words, k=2000))
            file.write(json.dumps({"text": f"{file.tell()} {row}"}) + "\n")
    return path


def test_after_a_kill_at_most_4_mib_are_sent_again(member: Party, wire: Wire, text: Path) -> None:
    words = ("data", "submit", text, "--name", "contracts", "--domain", "law", "--licence", "CC-BY-4.0")
    before, kills = wire.sent, 0
    for until in (7 * MIB, 9 * MIB):
        reached = wire.expect(until)
        command = [str(word) for word in (BIN / "coalition", *words)]
        submitting = subprocess.Popen(command, env={**os.environ, "COALITION_HOME": str(member.home)})
        assert reached.wait(120)
        submitting.send_signal(signal.SIGKILL)
        assert submitting.wait() == -signal.SIGKILL
        kills += 1
    accepted = member.coalition(*words)
    assert accepted["state"] == "accepted"
    sent_twice = wire.sent - before - accepted["size"]
    print(f"{sent_twice / kills / MIB:.2f} MiB were sent again after a kill")
    assert sent_twice > 0
    assert sent_twice <= kills * AGAIN
