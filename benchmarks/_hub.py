"""A real hub in a process of its own, its members, and how much memory it takes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contributors.client import Coalition
from contributors.demo.parties import BIN, answers, free_ports, run
from contributors.home import Home
from hub import setup
from hub.settings import Settings
from protos.transport.enrolment import enrol
from trust.invitations import Invitation


@dataclass(frozen=True)
class Served:
    """A hub that answers."""

    directory: Path
    settings: Settings
    pid: int

    def home(self, name: str) -> Home:
        """Of a new member."""
        said = run([BIN / "coalition-hub", "invite", self.settings.directory, "--organisation", name, "--json"])
        home = Home(self.directory / name)
        token = Invitation.decode(json.loads(said)["token"])
        address = f"127.0.0.1:{self.settings.port}"
        home.save_enrolment(enrol("127.0.0.1", token, "member", home.artifact_key()), address)
        return home

    def member(self, name: str) -> Coalition:
        """A new member, connected."""
        return Coalition(self.home(name))

    def resident(self, field: str = "VmRSS") -> float:
        """MiB of the hub's memory now; with `VmHWM`, the most so far."""
        return memory_of(self.pid, field)


def memory_of(pid: int, field: str = "VmRSS") -> float:
    """MiB of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


@contextmanager
def serving(directory: Path, **changes: int) -> Iterator[Served]:
    """A fresh hub, with some settings of its own; when something fails, the end of its log is shown."""
    port = free_ports(3)
    settings = setup.create(directory / "hub", "bench", host="127.0.0.1", bind="127.0.0.1", port=port, **changes)
    with (directory / "hub.log").open("wb") as log:
        hub = subprocess.Popen([BIN / "coalition-hub", "serve", settings.directory], stdout=log, stderr=log)
    try:
        while not (answers(port) and answers(port + 1)):
            assert hub.poll() is None, "the hub ended"
            time.sleep(0.2)
        yield Served(directory, settings, hub.pid)
    except BaseException:
        print((directory / "hub.log").read_text()[-2000:])
        raise
    finally:
        hub.terminate()
        hub.wait()
