"""Gangs by Slurm: the agent of a cluster submits a batch job, asks after it, and cancels it.

The agent's directory must lie where all machines of the partition see it. Slurm chooses the machines, and puts the job back
into the queue when it preempts it; the gang then goes on from the newest checkpoint that all of them hold.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hub.training.launch import TAIL, telling_line
from hub.training.launching import Job, Part
from hub.training.slurm import commands
from hub.training.slurm.script import name, script
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2
from trust.errors import Unavailable

POLL = 2.0  # seconds between questions to the controller
FORGOTTEN = 10  # questions without an answer after which a job counts as lost
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """What an operator lends: a partition (the default one where it is empty), and options for sbatch."""

    partition: str = ""
    options: tuple[str, ...] = ()


async def cluster_inventory(offer: training_pb2.Inventory, cluster: Cluster) -> None:
    """Say what the partition has, in the place of what this machine has. Raises `Unavailable`."""
    found = await commands.machines(cluster.partition)
    del offer.accelerators[:]
    offer.accelerators.extend(training_pb2.Accelerator(kind=kind) for kind in found.accelerators)
    offer.machines, offer.cores, offer.memory = found.count, found.cores, found.memory


class BySlurm:
    """For the agent `node`."""

    shared = True

    def __init__(self, node: str, cluster: Cluster) -> None:
        self._node, self._cluster = node, cluster

    async def start(self, part: Part, place: Workplace) -> Job:
        """Raises `Unavailable`."""
        await self.clear()
        machines = await commands.machines(self._cluster.partition)
        task = [sys.executable, "-m", "hub.training.slurm.task", str(part.job), str(place.home)]
        command = place.concealed([*task, str(part.processes // part.machines), str(part.port)])
        return await self.submit(part, shlex.join(command), len(machines.accelerators))

    async def submit(self, part: Part, command: str, accelerators: int = 0) -> Job:
        """Raises `Unavailable`."""
        text = script(part, self._node, self._cluster.partition, self._cluster.options, accelerators, command)
        path = part.folder / "batch.sh"
        path.write_text(text)
        job = await commands.submit(str(path))
        _log.info("%s is Slurm's job %s on %d machines", part.run, job, part.machines)
        return SlurmJob(job, part.folder / "log")

    async def clear(self) -> None:
        """An agent that was killed left its job behind: only one agent works in a directory, and on one run."""
        with suppress(Unavailable):
            await commands.cancel(f"--name={name(self._node)}")


class SlurmJob:
    """A batch job, asked after until it has ended."""

    def __init__(self, number: str, log: Path) -> None:
        self.number, self._log = number, log
        self.status = commands.Status("PENDING")
        self._watching = asyncio.create_task(self._watch())

    @property
    def running(self) -> bool:
        return not self._watching.done()

    async def wait(self) -> int:
        """Raises `Unavailable` where Slurm no longer knows the job."""
        await asyncio.shield(self._watching)
        return 0 if self.status.state == "COMPLETED" else self.status.code or 1

    async def kill(self) -> None:
        with suppress(Unavailable):
            await commands.cancel(self.number)
        with suppress(Unavailable):
            await asyncio.shield(self._watching)

    def last_words(self) -> str:
        """From the end of the job's output; Slurm's own reason where the job did not end by itself."""
        said = ""
        with suppress(OSError):
            said = telling_line(self._log.read_bytes()[-TAIL:].decode("utf-8", "replace"))
        return said if self.status.state == "FAILED" and said else f"Slurm: {self.status.state}; {said}"

    async def _watch(self) -> None:
        unanswered = 0
        while not self.status.ended:
            await asyncio.sleep(POLL)
            try:
                found = await commands.status(self.number)
            except Unavailable as problem:
                unanswered += 1
                if unanswered == FORGOTTEN:
                    raise
                _log.warning("%s", problem.what)
                continue
            if found != self.status:
                _log.info(
                    "Slurm's job %s: %s (%s), restarts %d", self.number, found.state, found.reason, found.restarts
                )
            unanswered, self.status = 0, found
