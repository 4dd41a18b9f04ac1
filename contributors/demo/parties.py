"""The parties of the demonstration: each a home directory and processes of its own, driven through the two commands."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trust.errors import Problem, Unavailable

BIN = Path(sys.executable).parent
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Party:
    """An organisation with its `COALITION_HOME`."""

    name: str
    home: Path

    def coalition(self, *arguments: object, **environment: str) -> Any:
        """The JSON that a `coalition` command prints. Raises `Problem` with what it said when it fails."""
        command = [BIN / "coalition", *arguments, "--json"]
        return json.loads(run(command, COALITION_HOME=str(self.home), **environment))

    def follow(self, *arguments: object) -> Iterator[dict[str, Any]]:
        """The events that a watching command prints, live."""
        words = [str(word) for word in (BIN / "coalition", *arguments, "--json")]
        environment = {**os.environ, "COALITION_HOME": str(self.home)}
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None  # noqa: S101  (for the type checker)
            for line in process.stdout:
                yield json.loads(line)


def run(command: Sequence[object], **environment: str) -> str:
    """What a command prints. Raises `Problem` with what it said when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise Problem(f"`{Path(words[0]).name} {' '.join(words[1:])}` failed: {said}")
    return done.stdout


def fewer_layers() -> dict[str, str]:
    """What the demo's operator says where this machine gives no namespaces: suites are evaluated behind what it has."""
    trial = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    if shutil.which("bwrap") and subprocess.run(trial, capture_output=True, check=False).returncode == 0:
        return {}
    return {"COALITION_SANDBOX": "namespaces|landlock,network|seccomp,seccomp,limits"}


class Processes:
    """Long-lived processes with a log each; stopped in reverse order when the block ends."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        for _, process in reversed(self._running):
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for _, process in reversed(self._running):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, command: Sequence[object], **environment: str) -> None:
        """A process in its own session, so that Ctrl-C reaches us alone and we stop the others in order."""
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append((name, process))

    def check(self) -> None:
        """Raises `Unavailable` when one of them has ended."""
        for name, process in self._running:
            if process.poll() is not None:
                raise Unavailable(f"{name} ended with code {process.returncode}.", f"See {self._logs / name}.log.")

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Until `ready`; meanwhile nobody may die. Raises `Unavailable`."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"{what} did not happen within {seconds:.0f} seconds.", f"See {self._logs}.")
            time.sleep(0.3)


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports of 127.0.0.1 that are free now; anywhere, as others may be looking too."""
    for _ in range(1000):
        first = random.randrange(19_090, 30_000 - count)  # noqa: S311  (no secret)
        if all(_is_free(first + offset) for offset in range(count)):
            return first
    raise Unavailable("No free ports were found on 127.0.0.1.")


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
