"""Slurm's commands, and what they answer. sbatch(1), scontrol(1), scancel(1), sinfo(1)."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hub.training.launch import KEPT
from trust.errors import Unavailable

ENDED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)
"""States from which a job does not come back."""
PATIENCE = 60.0  # seconds for one command
_KEPT = (*KEPT, "SLURM_CONF", "USER", "LOGNAME")


@dataclass(frozen=True)
class Status:
    """What the controller knows of a job; `restarts` counts how often it was put back into the queue."""

    state: str
    reason: str = ""
    code: int = 0
    restarts: int = 0

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Machines:
    """The nodes of a partition that a gang can have: the most that are alike. `memory` in bytes; kinds of accelerators."""

    count: int
    cores: int
    memory: int
    accelerators: tuple[str, ...] = ()


async def submit(script: str) -> str:
    """The job's number. Raises `Unavailable`."""
    answer = await _ask(["sbatch", "--parsable", script])
    return answer.strip().partition(";")[0]


async def status(job: str) -> Status:
    """Raises `Unavailable` where the controller does not answer, or has forgotten the job."""
    return parse_status(await _ask(["scontrol", "show", "job", "--oneliner", job]))


async def cancel(*which: str) -> None:
    """A job by its number, or with `--name` all of this user's that are called so. Raises `Unavailable`."""
    await _ask(["scancel", *which])


async def machines(partition: str) -> Machines:
    """Raises `Unavailable`, also for a partition without nodes that are up."""
    command = ["sinfo", "--noheader", "--exact", "--format=%D|%c|%m|%G|%t"]
    answer = await _ask([*command, *([f"--partition={partition}"] if partition else [])])
    found = parse_machines(answer)
    if found is None:
        raise Unavailable(f"Slurm has no nodes that are up in {partition or 'its default partition'}.")
    return found


def parse_status(answer: str) -> Status:
    """`scontrol show job`: words of the form Key=value."""
    fields = dict(re.findall(r"(\w+)=(\S*)", answer))
    code, _, signal = fields.get("ExitCode", "0:0").partition(":")
    return Status(
        fields.get("JobState", "UNKNOWN"),
        fields.get("Reason", ""),
        int(code) or int(signal or 0),
        int(fields.get("Restarts", 0)),
    )


def parse_machines(answer: str) -> Machines | None:
    """Lines of count, cores, mebibytes, generic resources such as gpu:h200:8(S:0-1), and state."""
    found: dict[tuple[int, int, tuple[str, ...]], int] = {}
    for line in answer.splitlines():
        count, cores, mebibytes, gres, state = line.split("|")
        if re.match(r"(idle|mix|alloc|comp|resv|plnd)[a-z]*$", state):
            kinds = tuple(
                kind or "gpu"
                for kind, number in re.findall(r"gpu(?::([^:,()]+))??:(\d+)(?=[(,]|$)", gres)
                for _ in range(int(number))
            )
            key = (int(cores.rstrip("+")), int(mebibytes.rstrip("+")) << 20, kinds)
            found[key] = found.get(key, 0) + int(count)
    if not found:
        return None
    (cores_each, memory, kinds), number = max(found.items(), key=lambda item: (item[1], len(item[0][2])))
    return Machines(number, cores_each, memory, kinds)


async def _ask(command: Sequence[str]) -> str:
    """With nothing of ours in the environment: sbatch hands that on to the job."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"{command[0]} could not be run: {error or 'it does not answer'}.") from None
    if process.returncode:
        said = err.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise Unavailable(f"{command[0]}: {said[-1]}")
    return out.decode("utf-8", "replace")
