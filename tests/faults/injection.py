"""strace as the instrument: counts a thread's file system calls, and makes one of them fail or kill the process."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

Fault = Literal["KILL", "EIO", "ENOSPC"]

DURABLE = frozenset({"fsync", "fdatasync"})
SPACE = frozenset({"write", "pwrite64", "writev", "mkdir", "link", "linkat", "rename", "renameat", "renameat2"})
"""Calls that a full disk can refuse; beside opening with O_CREAT, fsync and ftruncate."""
CHANGING = SPACE | DURABLE | {"ftruncate", "fallocate", "unlink", "unlinkat", "rmdir", "fchmod", "close"}
READING = frozenset({"read", "pread64", "flock"})
"""Calls that change nothing: they fail, but a kill there is the kill at the next change."""
CALLS = (*sorted(CHANGING | READING), "openat")
_LINE = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<arguments>.*)")


@dataclass(frozen=True)
class Point:
    """The `number`-th call (from 1) of its kind in the `thread`-th thread, and what happens there.

    With a `path` (in the hub's directory): the `number`-th on that file, in whichever thread that is.
    """

    scenario: str
    thread: int
    call: str
    number: int
    fault: Fault
    path: str = ""

    def __str__(self) -> str:
        where = self.path or f"thread {self.thread}"
        return f"{self.scenario}: {where}, {self.call} {self.number}, {self.fault}"


def unavailable() -> str:
    """Why nothing can be injected here; empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-f", "true"], capture_output=True, text=True, check=False)
    return f"strace cannot trace here: {done.stderr.strip()[-200:]}" if done.returncode else ""


@contextmanager
def attached(options: Sequence[str], thread: int, out: Path) -> Iterator[None]:
    """Trace a thread of a running process (with `-f`, all of them); from when the block begins until it ends."""
    command = ["strace", *options, "-o", str(out), "-p", str(thread)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            _await_attachment(process.stderr)
            yield
        finally:
            process.stderr.read()
            process.wait()


def _await_attachment(said: IO[str]) -> None:
    line = said.readline()
    if " attached" not in line:
        raise RuntimeError(f"strace did not attach: {line}{said.read()}")


def counting() -> list[str]:
    return ["-f", "-y", "-s", "0", "-e", f"trace={','.join(CALLS)}", "-e", "signal=none"]


def injecting(point: Point, directory: Path) -> list[str]:
    """Of a hub in `directory`. strace counts what it is to inject thread by thread, and of what `-P` lets through alone."""
    what = "signal=KILL" if point.fault == "KILL" else f"error={point.fault}"
    where = ["-f", "-P", str(directory / point.path)] if point.path else []
    return [
        "-y",
        "-s",
        "0",
        *where,
        "-e",
        f"trace={point.call}",
        "-e",
        f"inject={point.call}:{what}:when={point.number}",
    ]


def happened(out: Path) -> str:
    """The call that failed, or a note of the kill; empty when a thread made fewer calls than when they were counted."""
    marks = ("(INJECTED)", "killed by SIGKILL")
    return next((line for line in out.read_text(errors="replace").splitlines() if any(m in line for m in marks)), "")


def points(trace: Path, scenario: str, threads: Sequence[int], directory: Path) -> list[Point]:
    """Every fault for every call that touched the hub's directory, in the threads that were there from the beginning.

    Those are the caller's and the ledger's. Of threads that start later, every flush: which of them flushes what is chance, so
    that point is a file. All else that starts later, for screening, only reads blobs and keeps its own progress.
    """
    counts: Counter[tuple[int, str]] = Counter()
    flushes: Counter[tuple[int, str, str]] = Counter()
    found: list[Point] = []
    for line in trace.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue  # the end of a call that another thread interrupted
        thread, call, arguments = int(match["thread"]), match["call"], match["arguments"]
        counts[thread, call] += 1
        if str(directory) not in arguments:
            continue
        if thread in threads:
            place, number = threads.index(thread), counts[thread, call]
            found += [Point(scenario, place, call, number, fault) for fault in _faults(call, arguments)]
        elif call in DURABLE and (path := _path(arguments, directory)):
            flushes[thread, call, path] += 1
            number = flushes[thread, call, path]
            found += [Point(scenario, 0, call, number, fault, path) for fault in _faults(call, arguments)]
    return found


def _path(arguments: str, directory: Path) -> str:
    """Of the file that a call is about, in the hub's directory; empty for the directory itself and what is outside."""
    match = re.match(r"\d+<(?P<path>[^>]*)>", arguments)
    path = Path(match["path"]) if match else Path()
    return str(path.relative_to(directory)) if path != directory and path.is_relative_to(directory) else ""


def _faults(call: str, arguments: str) -> Sequence[Fault]:
    creating = call == "openat" and "O_CREAT" in arguments
    if call in READING or (call == "openat" and not creating):
        return ("EIO",)
    if call in SPACE or creating or call in DURABLE | {"ftruncate", "fallocate"}:
        return ("KILL", "EIO", "ENOSPC")
    return ("KILL", "EIO")
