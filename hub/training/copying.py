"""An agent takes its ranks' pieces of a copy to the hub while training goes on."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hub.training import shards
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2
from trust.errors import NotFound, Problem

POLL = 0.2
LATE = 60.0  # seconds after which a shared disk should show what another machine has written
_log = logging.getLogger(__name__)


class Copying:
    """One step at a time: a copy that is due while the one before is still on its way is left out, on this node and so for all.

    `copies` holds `step-N/` with the pieces of these names, which go when they are uploaded or not wanted. `send` tells the hub.
    """

    def __init__(
        self,
        run: str,
        attempt: int,
        copies: Path,
        names: Sequence[str],
        place: Workplace,
        send: Callable[[training_pb2.NodeMessage], None],
    ) -> None:
        self._run, self._attempt, self._copies, self._names = run, attempt, copies, names
        self._place, self._send = place, send
        self._task: asyncio.Task[None] | None = None

    def begin(self, step: int) -> None:
        """All ranks of the node have written their pieces of a step."""
        if self._task and not self._task.done():
            _log.warning("%s: the copy of step %d is left out: the one before is still on its way", self._run, step)
            self.leave_out(step)
            return
        self._task = asyncio.create_task(self._upload(step))

    def leave_out(self, step: int) -> None:
        """Nobody needs the pieces of a step."""
        shutil.rmtree(self._copies / shards.tag(step), ignore_errors=True)

    async def end(self) -> None:
        """What is still on its way is given up."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _upload(self, step: int) -> None:
        try:
            pieces = await self._place.upload(await self._shown(step))
        except (Problem, OSError) as problem:
            _log.warning("%s: the copy of step %d did not come to the hub: %s", self._run, step, problem)
            return
        finally:
            self.leave_out(step)
        copied = training_pb2.Copied(run=self._run, attempt=self._attempt, step=step, pieces=pieces)
        self._send(training_pb2.NodeMessage(copied=copied))

    async def _shown(self, step: int) -> list[Path]:
        """The pieces, once all of them are to be seen: machines that share a disk see each other's late. Raises `NotFound`."""
        paths = [self._copies / shards.tag(step) / name for name in self._names]
        with suppress(TimeoutError):
            async with asyncio.timeout(LATE):
                while not all(path.exists() for path in paths):
                    await asyncio.sleep(POLL)
                return paths
        raise NotFound(f"not all of its {len(paths)} pieces are to be seen on the shared disk")
