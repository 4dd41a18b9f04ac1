"""A throw-away PostgreSQL on loopback, run by an unprivileged user, for tests that need a real one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def binaries() -> Path | None:
    """Where initdb and the server lie; distributions keep them out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    command = shutil.which("initdb")
    return Path(command).parent if command and shutil.which("postgres") else None


@contextmanager
def server() -> Iterator[str]:
    """The URL of an empty database on a server of our own. Skips the test, with the reason, where there is none."""
    where = binaries()
    if where is None:
        pytest.skip("PostgreSQL's server is not installed")
    with tempfile.TemporaryDirectory(prefix="coalition-postgres-") as name:
        directory = Path(name)
        if os.getuid() == 0:
            shutil.chown(directory, "nobody")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        data, log = str(directory / "data"), str(directory / "server.log")
        _run(directory, where / "initdb", "-D", data, "-U", "coalition", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = f"-p {port} -k {directory} -c listen_addresses=127.0.0.1 -c fsync=off"
        _run(directory, where / "pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "-o", settings, "start")
        try:
            yield f"postgresql://coalition@127.0.0.1:{port}/postgres"
        finally:
            _run(directory, where / "pg_ctl", "-D", data, "-m", "immediate", "stop")


def _run(directory: Path, *words: object) -> None:
    """PostgreSQL refuses to run as root."""
    command = [str(word) for word in words]
    if os.getuid() == 0:
        command = ["runuser", "-u", "nobody", "--", *command]
    log = directory / "commands.log"
    with log.open("ab") as out:  # the server would keep a pipe open
        done = subprocess.run(command, cwd=directory, stdout=out, stderr=out, check=False)
    assert done.returncode == 0, log.read_text()
