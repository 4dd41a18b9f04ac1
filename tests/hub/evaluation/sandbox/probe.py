"""A program that tries what a suite must never do, behind the layers that it is told to put on: `probe.py FACTS LAYER...`.

Prints JSON: what each act came to: "done", or the error's name. Acts do no harm where nothing forbids them.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub.evaluation.sandbox import files, landlock, limits, seccomp

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE, MOUNT, UNSHARE, BPF, PERF, KEYCTL, IO_URING = 101, 165, 272, 321, 298, 250, 425  # x86-64
TKILL, SETPRIORITY = 200, 141
NOBODYS_PROCESS = 4_000_000


def call(number: int, *words: Any) -> None:
    """What a filter refuses answers EPERM before the kernel looks at the (senseless) arguments."""
    if LIBC.syscall(number, *words) < 0:
        raise OSError(ctypes.get_errno(), "")


def tcp(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def udp(port: int) -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret", ("127.0.0.1", port))


def unix(name: str) -> None:
    socket.socket(socket.AF_UNIX).connect(name)


def dns() -> None:
    """The resolver's own way out: a socket of its family."""
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 53))


def fork() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def execute() -> None:
    """A file that is no program: who may execute hears so."""
    try:
        os.execv("/dev/null", ["x"])  # noqa: S606
    except OSError as error:
        if error.errno == errno.EACCES:
            return
        raise


def hundred_gibibytes() -> None:
    mmap.mmap(-1, 100 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000).close()  # MAP_NORESERVE


def fill(folder: str) -> None:
    Path(folder, "filling").write_bytes(b"x" * (1 << 20))


def environment() -> None:
    """Its own, as libraries see it and as the kernel shows what the process was started with."""
    if not os.environ and not Path("/proc/self/environ").read_bytes().strip(b"\0"):
        raise OSError(errno.ENOENT, "empty")


def threads() -> None:
    """Not forbidden: torch needs them, and whoever starts one asks for its own limits."""
    resource.getrlimit(resource.RLIMIT_STACK)
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def acts(facts: dict[str, Any]) -> dict[str, Callable[[], object]]:
    return {
        "passwd": lambda: Path("/etc/passwd").read_bytes(),
        "hub's key": lambda: Path(facts["key"]).read_bytes(),
        "another's suite": lambda: Path(facts["suite"]).read_bytes(),
        "list folder": lambda: os.listdir(facts["folder"]),
        "hub's environment": lambda: Path(f"/proc/{facts['process']}/environ").read_bytes(),
        "own environment": environment,
        "TCP": lambda: tcp(facts["tcp"]),
        "UDP": lambda: udp(facts["udp"]),
        "DNS": dns,
        "abstract socket": lambda: unix("\0" + facts["abstract"]),
        "socket file": lambda: unix(facts["socket"]),
        "fork": fork,
        "execute": execute,
        "100 GiB": hundred_gibibytes,
        "fill disk": lambda: fill(facts["folder"]),
        "kill": lambda: os.kill(facts["process"], 0),
        "limits of another": lambda: resource.prlimit(facts["process"], resource.RLIMIT_FSIZE),
        "processors of another": lambda: os.sched_setaffinity(facts["process"], os.sched_getaffinity(0)),
        "tkill": lambda: call(TKILL, NOBODYS_PROCESS, 0),
        "setpriority": lambda: call(SETPRIORITY, 99, 0, 0),
        "ptrace": lambda: call(PTRACE, 16, NOBODYS_PROCESS, 0, 0),
        "mount": lambda: call(MOUNT, b"none", b"/", b"no-such-type", 0, 0),
        "unshare": lambda: call(UNSHARE, 1 << 62),
        "bpf": lambda: call(BPF, 999, 0, 0),
        "perf": lambda: call(PERF, 0, 0, 0, 0, 1 << 30),
        "keyctl": lambda: call(KEYCTL, 999),
        "io_uring": lambda: call(IO_URING, 0, 0),
        "threads": threads,
    }


def main(facts: dict[str, Any], layers: list[str]) -> None:
    tried = acts(facts)
    readable = [*files.python(), *files.system(), *files.kernel()]
    if "limits" in layers:
        limits.apply(limits.Most(4 << 30, 60))
    if "landlock" in layers:
        landlock.restrict(readable, files.devices())
    if "seccomp" in layers:
        seccomp.install()
    print(json.dumps({name: attempt(act) for name, act in tried.items()}))


def attempt(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "done"


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    main(json.loads(sys.argv[1]), sys.argv[2:])
