"""Slurm's commands, and what they answer. sbatch(1), scontrol(1), scancel(1), sinfo(1)."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hub.training.launch import KEPT
from trust.errors import NotFound, Unavailable

ENDED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)
"""States from which a job does not come back."""
PATIENCE = 60.0  # seconds for one command
_KEPT = (*KEPT, "SLURM_CONF", "USER", "LOGNAME")


FORGOTTEN = "FORGOTTEN"
"""Our own word for the state of a job that the controller knows no more."""


@dataclass(frozen=True)
class Status:
    """What the controller knows of a job; `reason` is why it waits, `machines` those that it was given, `restarts` counts how
    often it was put back into the queue."""

    state: str
    reason: str = ""
    code: int = 0
    restarts: int = 0
    machines: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED or self.state == FORGOTTEN

    def told(self) -> str:
        """For people; empty for what an end is told with."""
        again = f", after {self.restarts} {'restart' if self.restarts == 1 else 'restarts'}" if self.restarts else ""
        match self.state:
            case "PENDING":
                return f"waiting in Slurm{f': {self.reason}' if self.reason else ''}{again}"
            case "CONFIGURING":
                return f"Slurm makes {self.machines or 'machines'} ready{again}"
            case "RUNNING":
                return f"running in Slurm on {self.machines or 'its machines'}{again}"
            case "COMPLETING":
                return ""
            case state:
                return "" if self.ended else f"Slurm: {state}{again}"


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
    """Raises `NotFound` where the controller has forgotten the job, `Unavailable` where it does not answer."""
    try:
        return parse_status(await _ask(["scontrol", "show", "job", "--oneliner", job]))
    except Unavailable as problem:
        if "Invalid job id" in problem.what:
            raise NotFound(f"Slurm knows no job {job}.") from None
        raise


async def jobs(name: str) -> list[str]:
    """The numbers of this user's jobs that are called so and have not ended. Raises `Unavailable`."""
    return (await _ask(["squeue", "--noheader", "--me", f"--name={name}", "--format=%i"])).split()


async def cancel(*numbers: str) -> None:
    """Raises `Unavailable`, also where Slurm is about to end or to requeue one of them: ask again."""
    await _ask(["scancel", *numbers])


async def machines(partition: str) -> Machines:
    """Raises `Unavailable`, also for a partition without nodes that are up."""
    command = ["sinfo", "--noheader", "--exact", "--format=%D|%c|%m|%G|%t"]
    answer = await _ask([*command, *([f"--partition={partition}"] if partition else [])])
    found = parse_machines(answer)
    if found is None:
        raise Unavailable(f"Slurm has no nodes that are up in {partition or 'its default partition'}.")
    return found


def parse_status(answer: str) -> Status:
    """`scontrol show job`: words of the form Key=value. The first of a name counts: paths come last, and may hold anything."""
    fields = dict(reversed(re.findall(r"(\w+)=(\S*)", answer)))
    code, _, signal = fields.get("ExitCode", "0:0").partition(":")
    return Status(
        fields.get("JobState", "UNKNOWN"),
        _said(fields.get("Reason", "")),
        int(code) or int(signal or 0),
        int(fields.get("Restarts", 0)),
        _said(fields.get("NodeList", "")),
    )


def _said(value: str) -> str:
    """Empty for the words with which Slurm says nothing."""
    return "" if value in ("None", "(null)") else value


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
    """With nothing of ours in the environment: sbatch hands that on to the job. What takes too long is ended."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    process = None
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
    finally:
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        said = err.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise Unavailable(f"{command[0]}: {said[-1]}")
    return out.decode("utf-8", "replace")
