"""Child processes of a node agent that never outlive it, and the end of what they said when they fail."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hub.guard import guarded
from hub.training.output import Output

TAIL = 16_000
ADDRESS_OF = 0x8915  # SIOCGIFADDR
KEPT = (
    *("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES"),
    *("ROCM_PATH", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
)


def worker_environment(
    threads: int, loopback: bool, temporary: Path | None = None, home: Path | None = None, *, peer: str = ""
) -> dict[str, str]:
    """What a worker may see: no credentials of ours, no network for libraries that would like to call home. It meets the others
    through the interface that faces `peer`.

    `temporary` and `home` are folders that it can write to: others may be out of its reach (`hidden`).
    """
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    environment = {
        **kept,
        **({"TMPDIR": str(temporary)} if temporary else {}),
        **({"HOME": str(home)} if home else {}),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if not has_gpu():
        environment["DS_ACCELERATOR"] = "cpu"
    if interface := "lo" if loopback else peer and facing(peer):
        environment["GLOO_SOCKET_IFNAME"] = interface
    return environment


def facing(peer: str) -> str:
    """The name of our network interface on the way to an IPv4 host; empty where there is none. Left alone, gloo takes the address
    of this machine's own name, which on many is that of the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError:
            return ""
        address = socket.inet_aton(probe.getsockname()[0])
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                found = fcntl.ioctl(probe, ADDRESS_OF, struct.pack("256s", name.encode()))
                if found[20:24] == address:
                    return name
    return ""


def has_gpu() -> bool:
    """Whether there is the driver of NVIDIA's accelerators, or AMD's."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()


def torchrun(job: Path, *, rank: int, world: int, host: str, port: int, processes: int = 1) -> list[str]:
    """The command for this node's part of a gang of `world` nodes, with so many processes on each."""
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={world}",
        f"--node_rank={rank}",
        f"--nproc_per_node={processes}",
        f"--master_addr={host}",
        f"--master_port={port}",
        "--max_restarts=0",
        "--module",
        "hub.training.rank",
        str(job),
    ]


class Child:
    """A running command; its output goes to a log file in `folder`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log
        self._output = Output(log)

    @classmethod
    async def start(cls, command: Sequence[str], environment: dict[str, str], log: Path) -> Child:
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *guarded(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,
            )
        return cls(process, log)

    async def wait(self) -> int:
        return await self._process.wait()

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def kill(self) -> None:
        """At once, with its process group; a worker that torchrun gave a session of its own dies with torchrun."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def news(self) -> list[str]:
        return [f"log: {line}" for line in self._output.lines(ended=not self.running)]

    def last_words(self) -> str:
        """Why it failed, from the end of its log."""
        with suppress(OSError):
            return telling_line(self._log.read_bytes()[-TAIL:].decode("utf-8", "replace"))
        return "its log is gone"


def telling_line(log: str) -> str:
    """The last line that names an exception or a signal; else the last with a word in it.

    torchrun frames what its worker said with a report of its own, which tells only how the worker died.
    """
    lines = [line.strip() for line in log.splitlines() if re.search(r"[A-Za-z]{3}", line)]
    own = [line for line in lines if "torch.distributed" not in line and "torch/distributed" not in line]
    raised = [
        line
        for line in own
        if re.match(r"(machine \d+: )?(\[rank\d+\]: ?)?[\w.]+(Error|Exception|Invalid|NotFound|Corrupt)\b", line)
    ]
    signalled = [line for line in own if re.search(r"\bSIG[A-Z]+\b", line)]
    return (raised or signalled or own or lines or ["it said nothing"])[-1][:500]
