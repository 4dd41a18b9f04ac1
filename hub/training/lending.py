"""Free nodes lent to other work than runs: who is free, one order at a time, and what came of it.

A lease holds as long as the conversation it was given in: a node that is lost, comes back or is needed for a run has lost it, and
whoever asked asks another. Runs come first: nothing here keeps a node from one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hub.training.nodes import Attached, Attachments
from protos.coalition.v1 import training_pb2
from trust.errors import Unavailable

TICK = 1.0  # seconds between looks at whether a lease still holds
GRACE = 1800.0  # seconds that an order may take beyond its own: files travel, a worker starts
FAILURES = 3
"""Answers of no use, one after the other, after which a node is not asked again before it attaches anew."""


@dataclass(frozen=True)
class Lease:
    """A node's conversation, and what it will answer to its order."""

    node: Attached
    answer: asyncio.Future[training_pb2.Evaluated]


class Lending:
    """`run_of` is the run that a node works on, empty for none."""

    def __init__(self, attachments: Attachments, run_of: Callable[[str], str]) -> None:
        self._attachments, self._run_of = attachments, run_of
        self._leases: dict[str, Lease] = {}

    def willing(self) -> list[str]:
        """Nodes that take evaluations now, or when they are done with the one that they have."""
        nodes = [node for node in self._attachments.all() if node.greeted and node.hello.evaluates]
        return [node.name for node in nodes if self._is_well(node)]

    def free(self) -> list[str]:
        """Of these, those that would begin now."""
        busy = {lease.node.name for lease in self._leases.values()}
        return [name for name in self.willing() if name not in busy]

    async def ask(self, node: str, order: training_pb2.Evaluate) -> training_pb2.Evaluated:
        """What the node makes of it. Raises `Unavailable` where the lease is lost, or takes too long: a node that is silent for
        that long is not asked again before it attaches anew."""
        attached = self._attachments.get(node)
        if attached is None or node not in self.free():
            raise Unavailable(f"The node {node} is not free.")
        loop = asyncio.get_running_loop()
        lease = self._leases[order.id] = Lease(attached, loop.create_future())
        self._attachments.send(node, training_pb2.HubMessage(evaluate=order))
        end = loop.time() + order.seconds + GRACE
        try:
            while not (await asyncio.wait([lease.answer], timeout=TICK))[0]:
                if self._attachments.get(node) is not attached or not self._is_well(attached):
                    raise Unavailable(f"The node {node} was lost, or a run needs it.")
                if loop.time() > end:
                    attached.hello.evaluates = False
                    raise Unavailable(f"The node {node} has not answered in time.")
            return lease.answer.result()
        finally:
            del self._leases[order.id]

    def answered(self, node: Attached, message: training_pb2.Evaluated) -> None:
        """What a node says; of an order that it does not have, nothing. One that lacks a layer of the sandbox is not asked
        again before it attaches anew."""
        lease = self._leases.get(message.id)
        if lease is None or lease.node is not node or lease.answer.done():
            return
        if message.unable:
            node.hello.evaluates = False
        lease.answer.set_result(message)

    def judged(self, node: str, *, sound: bool) -> None:
        """Whether what a node answered was of use."""
        if attached := self._attachments.get(node):
            attached.unsound = 0 if sound else attached.unsound + 1
            if attached.unsound >= FAILURES:
                attached.hello.evaluates = False

    def _is_well(self, node: Attached) -> bool:
        """And no run needs it."""
        return not node.silent() and not node.hello.inventory.health and not self._run_of(node.name)
