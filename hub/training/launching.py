"""How an agent gets its part of a gang to run: one small interface, and the way of the machine itself. `slurm` is the other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hub.training.inventory import threads
from hub.training.launch import Child, torchrun, worker_environment
from hub.training.standby import Standby
from hub.training.workplace import Workplace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """What is to run: the job's file in the attempt's folder, and this agent's place in the gang.

    For an agent with one machine that is node `rank` of `world`, with `processes` ranks; the agent of a cluster has the whole
    gang, and starts it on `machines` of its own.
    """

    run: str
    job: Path
    rank: int
    world: int
    host: str
    port: int
    processes: int
    machines: int

    @property
    def folder(self) -> Path:
        return self.job.parent


class Job(Protocol):
    """Processes at work; what they say of their progress stands in the attempt's folder."""

    @property
    def running(self) -> bool: ...

    async def wait(self) -> int:
        """The exit code."""

    async def kill(self) -> None:
        """Ends when all of them have; where a cluster does not answer, that is seen to before anything else is started."""

    def news(self) -> list[str]:
        """For those who follow the run, since this was last asked: what became of it, and what its processes wrote."""

    def last_words(self) -> str:
        """Why it failed."""


class Launcher(Protocol):
    """`shared` says that a gang's nodes all see the agent's folder, and keep their checkpoints there side by side."""

    shared: bool

    async def start(self, part: Part, place: Workplace) -> Job: ...

    async def stand_by(self, part: Part, place: Workplace) -> None:
        """An attempt has got as far as a checkpoint: another may go on from there."""


class OnThisMachine:
    """`torchrun` as a child of the agent; with ranks that stand by for the next attempt, if `warm`."""

    shared = False

    def __init__(self, *, warm: bool = False) -> None:
        self._warm, self._standby = warm, Standby()

    async def start(self, part: Part, place: Workplace) -> Job:
        command = torchrun(
            part.job, rank=part.rank, world=part.world, host=part.host, port=part.port, processes=part.processes
        )
        environment = _environment(part, place)
        environment |= await self._standby.take(part.processes, environment)
        return await Child.start(place.concealed(command), environment, part.folder / "log")

    async def stand_by(self, part: Part, place: Workplace) -> None:
        if not self._warm:
            return
        try:
            await self._standby.start(part.processes, _environment(part, place), place)
        except OSError as error:  # which is no reason to stop training
            _log.warning("nothing stands by for the next attempt: %s", error)


def _environment(part: Part, place: Workplace) -> dict[str, str]:
    loopback = part.host in ("127.0.0.1", "localhost")
    return worker_environment(threads(part.processes), loopback, part.folder / "tmp", place.home, peer=part.host)
