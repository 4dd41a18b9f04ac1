"""What an agent does while no run needs its machine: evaluations, one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2

_log = logging.getLogger(__name__)


class Evaluations(Protocol):
    """How orders are carried out (`hub.evaluation.lent`)."""

    async def evaluate(self, order: training_pb2.Evaluate, place: Workplace) -> training_pb2.Evaluated: ...
    async def stop(self) -> None: ...


class Evaluating:
    """`send` hands a message to the conversation with the hub."""

    def __init__(
        self, evaluations: Evaluations, place: Workplace, send: Callable[[training_pb2.NodeMessage], None]
    ) -> None:
        self._evaluations, self._place, self._send = evaluations, place, send
        self._task: asyncio.Task[None] | None = None

    async def begin(self, order: training_pb2.Evaluate) -> None:
        """In the place of an order before it, which the hub has given up if it gives another."""
        await self._drop()
        self._place.begin()
        self._task = asyncio.create_task(self._answer(order))

    def refuse(self, order: training_pb2.Evaluate, trouble: str) -> None:
        self._send(training_pb2.NodeMessage(evaluated=training_pb2.Evaluated(id=order.id, trouble=trouble)))

    async def stop(self) -> None:
        """A run comes first: its memory and its processors are free when this returns."""
        await self._drop()
        await self._evaluations.stop()

    async def _answer(self, order: training_pb2.Evaluate) -> None:
        _log.info("evaluating %s by %s", order.model, order.name)
        evaluated = await self._evaluations.evaluate(order, self._place)
        self._send(training_pb2.NodeMessage(evaluated=evaluated))

    async def _drop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
