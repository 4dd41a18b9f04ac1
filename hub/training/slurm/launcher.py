"""Gangs by Slurm: the agent of a cluster submits a batch job, asks after it, and cancels it.

The agent's directory must lie where all machines of the partition see it. Slurm chooses the machines, and puts the job back
into the queue when it preempts it; the gang then goes on from the newest checkpoint that all of them hold.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hub.training.launch import TAIL, telling_line
from hub.training.launching import Job, Part
from hub.training.output import Output
from hub.training.slurm import commands
from hub.training.slurm.script import CODE, name, script
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2
from trust.errors import NotFound, Unavailable

POLL = 2.0  # seconds between questions to the controller
SILENT = 5  # questions without an answer after which that is told
LOOK = 10.0  # seconds between looks at whether the controller answers at all
AGAIN = 10.0  # seconds after which a cancellation that had no effect is repeated
PATIENCE = 60.0  # seconds to wait for the end of what was cancelled
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """What an operator lends: a partition (the default one where it is empty), and options for sbatch."""

    partition: str = ""
    options: tuple[str, ...] = ()


class BySlurm:
    """For the agent `node`. `trouble` says why it should be given nothing now; empty when all is well."""

    shared = True

    def __init__(self, node: str, cluster: Cluster) -> None:
        self._node, self._cluster = node, cluster
        self._starting = asyncio.Lock()
        self._clean = False  # nothing is left of what was begun before
        self._machines: commands.Machines | None = None
        self.trouble = ""

    async def attend(self) -> None:
        """Until cancelled: end what an agent that was killed has left, and see whether Slurm answers."""
        while True:
            try:
                async with self._starting:
                    if not self._clean:
                        await self.clear()
                await self._look()
                self.trouble = ""
            except Unavailable as problem:
                _log.warning("%s", problem.what)
                self.trouble = problem.what
            await asyncio.sleep(LOOK)

    async def describe(self, offer: training_pb2.Inventory) -> None:
        """Say what the partition has, in the place of what this machine has; while Slurm is away, what it had.

        Raises `Unavailable` where that was never known.
        """
        found = self._machines
        if found is None or not self.trouble:
            found = await self._look()
        offer.health = offer.health or self.trouble
        del offer.accelerators[:]
        offer.accelerators.extend(training_pb2.Accelerator(kind=kind) for kind in found.accelerators)
        offer.machines, offer.cores, offer.memory = found.count, found.cores, found.memory

    async def start(self, part: Part, place: Workplace) -> Job:
        """Raises `Unavailable`, also where what was begun before may still be at work."""
        async with self._starting:
            await self.clear()
            machines = await self._look()
            task = [sys.executable, "-m", "hub.training.slurm.task", str(part.job), str(place.home)]
            command = place.concealed([*task, str(part.processes // part.machines), str(part.port)])
            return await self.submit(part, shlex.join(command), len(machines.accelerators))

    async def stand_by(self, part: Part, place: Workplace) -> None:
        """On which machines the next attempt will be is Slurm's to say."""

    async def submit(self, part: Part, command: str, accelerators: int = 0) -> Job:
        """Raises `Unavailable`."""
        text = script(part, self._node, self._cluster.partition, self._cluster.options, accelerators, command)
        path = part.folder / "batch.sh"
        path.write_text(text)
        self._clean = False  # until its number is known
        asking = asyncio.create_task(commands.submit(str(path)))
        try:
            number = await asyncio.shield(asking)
        except asyncio.CancelledError:
            with suppress(Unavailable):
                await SlurmJob(await asking, part.folder).kill()
            raise
        self._clean = True
        _log.info("%s is Slurm's job %s on %d machines", part.run, number, part.machines)
        return SlurmJob(number, part.folder)

    async def clear(self) -> None:
        """End all jobs of this agent: it works on one run, and two gangs would write into one folder.

        Raises `Unavailable` unless Slurm says that none is left.
        """
        end = time.monotonic() + PATIENCE
        while left := await commands.jobs(name(self._node)):
            if time.monotonic() > end:
                raise Unavailable(f"Slurm has not ended its job {left[0]}, which was cancelled.")
            with suppress(Unavailable):
                await commands.cancel(*left)
            await asyncio.sleep(POLL)
        self._clean = True

    async def _look(self) -> commands.Machines:
        self._machines = await commands.machines(self._cluster.partition)
        return self._machines


class SlurmJob:
    """A batch job, asked after until it has ended. While Slurm does not answer it is taken to go on, as it does."""

    def __init__(self, number: str, folder: Path) -> None:
        self.number, self._folder = number, folder
        self.status = commands.Status("PENDING")
        self._output, self._news = Output(folder / "log"), list[str]()
        self._watching = asyncio.create_task(self._watch())
        self._ending: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return not self._watching.done()

    async def wait(self) -> int:
        await asyncio.shield(self._watching)
        return 0 if self.status.state == "COMPLETED" else self.status.code or 1

    async def kill(self) -> None:
        self._ending = self._ending or asyncio.create_task(self._end())
        await asyncio.wait([self._ending], timeout=PATIENCE)

    def news(self) -> list[str]:
        told, self._news = self._news, []
        lines = (line for line in self._output.lines(ended=not self.running) if not re.fullmatch(r" *\d+:", line))
        return told + [f"log: {_named(line)}" for line in lines]

    def last_words(self) -> str:
        """From the end of the job's output; Slurm's own reason where the job did not end by itself."""
        said = ""
        with suppress(OSError):
            said = telling_line(_named((self._folder / "log").read_bytes()[-TAIL:].decode("utf-8", "replace")))
        match self.status.state:
            case "FAILED" if said:
                return said
            case commands.FORGOTTEN:
                return f"Slurm no longer knows its job {self.number}, and it left no word of its end; {said}"
            case state:
                return f"Slurm: {state}; {said}"

    async def _end(self) -> None:
        """Slurm refuses to cancel a job that it is just about to requeue, and may be away."""
        while self.running:
            with suppress(Unavailable):
                await commands.cancel(self.number)
            await asyncio.wait([self._watching], timeout=AGAIN)

    async def _watch(self) -> None:
        unanswered = 0
        while not self.status.ended:
            await asyncio.sleep(POLL)
            try:
                found = await commands.status(self.number)
            except NotFound:
                found = self._by_its_own_word()
            except Unavailable as problem:
                unanswered += 1
                if unanswered == SILENT:
                    self._tell(f"Slurm does not answer; its job is taken to go on meanwhile ({problem.what})")
                continue
            if unanswered >= SILENT:
                self._tell("Slurm answers again")
            if (told := found.told()) and told != self.status.told():
                self._tell(told)
            unanswered, self.status = 0, found

    def _by_its_own_word(self) -> commands.Status:
        """Slurm forgets jobs some time after their end (MinJobAge), and nobody may have been able to ask meanwhile."""
        with suppress(OSError, ValueError):
            code = int((self._folder / CODE).read_text())
            return commands.Status("FAILED" if code else "COMPLETED", code=code)
        return commands.Status(commands.FORGOTTEN)

    def _tell(self, what: str) -> None:
        _log.info("Slurm's job %s: %s", self.number, what)
        self._news.append(what)


def _named(output: str) -> str:
    """srun puts a machine's number before each of its lines."""
    return re.sub(r"^ *(\d+): ", r"machine \1: ", output, flags=re.MULTILINE)
