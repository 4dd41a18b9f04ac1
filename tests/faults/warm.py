"""A process that has imported the hub once and forks for every case, so that a case costs no start-up.

Commands come over a Unix socket, each with the socket that the forked child talks on. Forking is safe: this process has one
thread, and opens neither database nor gRPC.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.inspection import inspect
from tests.faults.scenarios import COMMANDS, SCENARIOS, Ack, open_hub, prepare
from trust.errors import Problem

PR_SET_PTRACER, ANYBODY = 0x59616D61, ctypes.c_ulong(-1)
ATTEMPTS = 2


def main() -> None:
    """Serve until the socket on standard input closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    server = socket.socket(fileno=0)
    while True:
        data, ancillary, _, _ = server.recvmsg(65536, socket.CMSG_SPACE(4))
        if not data:
            return
        (descriptor,) = array.array("i", ancillary[0][2])
        if os.fork() == 0:
            server.close()
            _child(socket.socket(fileno=descriptor), json.loads(data))
        os.close(descriptor)


def _child(talk: socket.socket, command: dict[str, Any]) -> None:
    """Never returns. Whatever goes wrong is told: silence means that the process died."""
    try:
        _do(talk, command)
    except BaseException:
        _tell(talk, failed=traceback.format_exc())
    finally:
        os._exit(0)


def _do(talk: socket.socket, command: dict[str, Any]) -> None:
    directory, scenario = Path(command["directory"]), command["scenario"]
    match command["do"]:
        case "prepare":
            prepare(directory, scenario)
            _tell(talk, prepared=True)
        case "act":
            _act(talk, directory, scenario)
        case "inspect":
            acked = [(payload, index) for payload, index in command["acked"]]
            inspect(directory, scenario, acked, (directory / "note").read_bytes())
            _tell(talk, holds=True)


def _act(talk: socket.socket, directory: Path, scenario: str) -> None:
    """Open the hub, wait until the tracer is there, act; after a refusal act again, as a client does."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
    hub = open_hub(directory)
    _tell(talk, ready=sorted(int(name) for name in os.listdir("/proc/self/task")))
    talk.recv(1)
    for attempt in range(ATTEMPTS):
        try:
            for ack in SCENARIOS[scenario](hub):
                _tell(talk, acked=ack)
            break
        except (Problem, OSError) as problem:  # `hub.access` answers either as a refusal
            _tell(talk, refused=str(problem), attempt=attempt)
            if hub.base.fuse.reason or scenario in COMMANDS:
                return  # the hub stops, or the command does: the process ends here
    _tell(talk, ended=True)


def _tell(talk: socket.socket, **message: Any) -> None:
    talk.sendall(json.dumps(message).encode() + b"\n")


class Warm:
    """The other end: starts children and reads what they say."""

    def __init__(self, process: Any, server: socket.socket) -> None:
        self._process, self._server = process, server
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def child(self, do: str, directory: Path, scenario: str, acked: list[Ack] | None = None) -> Iterator[Child]:
        """A forked process that does one thing. It ends by itself, or with the block."""
        ours, theirs = socket.socketpair()
        command = {"do": do, "directory": str(directory), "scenario": scenario, "acked": acked or []}
        with ours, theirs, self._one_at_a_time:
            socket.send_fds(self._server, [json.dumps(command).encode()], [theirs.fileno()])
            theirs.close()
            with ours.makefile("rb") as lines:
                yield Child(ours, lines)

    def once(self, do: str, directory: Path, scenario: str, acked: list[Ack] | None = None) -> dict[str, Any]:
        """The single answer of a child."""
        with self.child(do, directory, scenario, acked) as child:
            return next(child.messages(), {"failed": f"the process that should {do} died"})


class Child:
    def __init__(self, talk: socket.socket, lines: Any) -> None:
        self._talk, self._lines = talk, lines

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it says until it ends."""
        for line in self._lines:
            yield json.loads(line)

    def go(self) -> None:
        self._talk.sendall(b"g")


@contextmanager
def warm() -> Iterator[Warm]:
    """Start the process that forks."""
    import subprocess

    ours, theirs = socket.socketpair()
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "tests.faults.warm"]
    with subprocess.Popen(command, stdin=theirs, cwd=root, env=environment) as process:
        theirs.close()
        try:
            yield Warm(process, ours)
        finally:
            ours.close()
            process.wait()


if __name__ == "__main__":
    main()
