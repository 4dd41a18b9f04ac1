"""Runs the probe behind some of the layers, on a machine that has something to lose."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.evaluation.sandbox import bubblewrap, enter
from hub.landlock import abi

PROBE = Path(__file__).with_name("probe.py")
HERE = Path(__file__).parents[4]

DENIED = {"EPERM", "EACCES", "ENOENT", "ENETUNREACH", "ECONNREFUSED", "ENOMEM", "EFBIG", "ESRCH", "EROFS", "ENOSYS"}


@dataclass(frozen=True)
class Prey:
    """A hub's folder with a key, another's suite, an open folder, and ports that answer."""

    hidden: Path
    shown: Path
    facts: dict[str, Any]
    ear: socket.socket

    def probe(self, *layers: str) -> dict[str, str]:
        """What each act came to behind these layers."""
        command = [sys.executable, str(self.shown / PROBE.name), json.dumps(self.facts)]
        command += [layer for layer in layers if layer in ("landlock", "limits", "seccomp")]
        bwrap = bubblewrap.program()
        if "namespaces" in layers:
            assert bwrap is not None
            command = bubblewrap.wrapped(bwrap, command, hidden=self.hidden, shown=[self.shown])
        if "network" in layers:
            command = [sys.executable, "-I", "-S", enter.__file__, str(os.getpid()), "unshare", "", *command]
        environment = {"PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        if found["UDP"] == "done" and not self.heard():
            found["UDP"] = "ENETUNREACH"  # sent, into a network where nobody else is
        return found

    def heard(self) -> bool:
        """Whether a datagram arrived."""
        try:
            return bool(self.ear.recv(100))
        except BlockingIOError:
            return False


@contextmanager
def prey(folder: Path) -> Iterator[Prey]:
    hidden, shown = folder / "hub", folder / "hub" / "evaluation" / "models"
    (hidden / "keys").mkdir(parents=True)
    (hidden / "keys" / "log.key").write_text("secret")
    (hidden / "suites").mkdir()
    (hidden / "suites" / "other.jsonl").write_text("secret")
    (hidden / "open").mkdir()
    shown.mkdir(parents=True)
    shutil.copy(PROBE, shown)
    abstract = secrets.token_hex(8)
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_UNIX) as hall, socket.socket(socket.AF_UNIX) as file:
            hall.bind("\0" + abstract)
            file.bind(str(hidden / "socket"))
            for server in (tcp, hall, file):
                server.listen(64)
            facts = {
                "key": str(hidden / "keys" / "log.key"),
                "suite": str(hidden / "suites" / "other.jsonl"),
                "folder": str(hidden / "open"),
                "process": os.getpid(),
                "tcp": tcp.getsockname()[1],
                "udp": udp.getsockname()[1],
                "abstract": abstract,
                "socket": str(hidden / "socket"),
            }
            udp.setblocking(False)
            yield Prey(hidden, shown, facts, udp)


needs_bubblewrap = pytest.mark.skipif(
    bubblewrap.program() is None, reason="bubblewrap is not installed (apt install bubblewrap)"
)
needs_landlock = pytest.mark.skipif(abi() < 6, reason="this kernel's Landlock is older than ABI 6, or off")
