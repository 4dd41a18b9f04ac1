"""An agent's evaluations give way: to a newer order, and to a run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from hub.training.evaluating import Evaluating
from hub.training.workplace import Workplace
from protos.coalition.v1 import training_pb2


class Slow:
    """Takes for ever over `slow`, and answers anything else at once."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.dropped: list[str] = []
        self.stopped = False

    async def evaluate(self, order: training_pb2.Evaluate, place: Workplace) -> training_pb2.Evaluated:
        self.began.set()
        try:
            if order.id == "slow":
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.dropped.append(order.id)
            raise
        return training_pb2.Evaluated(id=order.id)

    async def stop(self) -> None:
        self.stopped = True


@pytest.mark.parametrize("gives_way_to", ["order", "run"])
async def test_what_is_under_way_ends_for_a_newer_order_and_for_a_run(gives_way_to: str, tmp_path: Path) -> None:
    said: asyncio.Queue[training_pb2.NodeMessage] = asyncio.Queue()
    slow = Slow()
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        evaluating = Evaluating(slow, Workplace(tmp_path, channel), said.put_nowait)
        await evaluating.begin(training_pb2.Evaluate(id="slow"))
        await slow.began.wait()
        if gives_way_to == "order":
            await evaluating.begin(training_pb2.Evaluate(id="quick"))
            assert (await said.get()).evaluated.id == "quick"
        else:
            await evaluating.stop()
    assert slow.dropped == ["slow"]
    assert slow.stopped is (gives_way_to == "run")
    assert said.empty()
