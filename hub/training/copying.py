"""An agent takes its ranks' pieces of a copy to the hub while training goes on."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hub.training import shards
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2
from trust.errors import Problem

_log = logging.getLogger(__name__)


class Copying:
    """One step at a time: a copy that is due while the one before is still on its way is left out, on this node and so for all.

    `copies` holds `step-N/` with the pieces, which go when they are uploaded or not wanted. `send` tells the hub.
    """

    def __init__(
        self, run: str, attempt: int, copies: Path, place: Workplace, send: Callable[[training_pb2.NodeMessage], None]
    ) -> None:
        self._run, self._attempt, self._copies, self._place, self._send = run, attempt, copies, place, send
        self._task: asyncio.Task[None] | None = None

    def begin(self, step: int) -> None:
        """All ranks of the node have written their pieces of a step."""
        folder = self._copies / shards.tag(step)
        if self._task and not self._task.done():
            _log.warning("%s: the copy of step %d is left out: the one before is still on its way", self._run, step)
            shutil.rmtree(folder, ignore_errors=True)
            return
        self._task = asyncio.create_task(self._upload(step, folder))

    async def end(self) -> None:
        """What is still on its way is given up."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _upload(self, step: int, folder: Path) -> None:
        try:
            pieces = await self._place.upload(sorted(folder.iterdir()))
        except (Problem, OSError) as problem:
            _log.warning("%s: the copy of step %d did not come to the hub: %s", self._run, step, problem)
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        copied = training_pb2.Copied(run=self._run, attempt=self._attempt, step=step, pieces=pieces)
        self._send(training_pb2.NodeMessage(copied=copied))
