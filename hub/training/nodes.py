"""The node agents that are attached right now."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from protos.coalition.v1 import training_pb2

SILENCE = 10.0  # seconds without a heartbeat after which a node counts as lost
UNREAD = 1000  # orders that a node has not taken after which it counts as gone


@dataclass
class Attached:
    """One agent's conversation. `outgoing` None ends it. Until it is `greeted` nobody has looked at what it works on. While
    what it says is `unheard`, since the hub is busy, it is not silent. `unsound` are the evaluations in a row that were of no
    use."""

    name: str
    hello: training_pb2.Hello
    outgoing: asyncio.Queue[training_pb2.HubMessage | None] = field(default_factory=asyncio.Queue)
    heard: float = field(default_factory=time.monotonic)
    heard_at: str = ""
    greeted: bool = False
    unheard: bool = False
    unsound: int = 0

    def silent(self) -> bool:
        return not self.unheard and time.monotonic() - self.heard > SILENCE


class Attachments:
    """By node name; a new conversation of a node replaces its old one."""

    def __init__(self) -> None:
        self._nodes: dict[str, Attached] = {}

    def add(self, node: Attached) -> None:
        if old := self._nodes.get(node.name):
            old.outgoing.put_nowait(None)
        self._nodes[node.name] = node

    def remove(self, node: Attached) -> bool:
        """False when another conversation of the same node has replaced it."""
        if self._nodes.get(node.name) is not node:
            return False
        del self._nodes[node.name]
        return True

    def get(self, name: str) -> Attached | None:
        return self._nodes.get(name)

    def all(self) -> list[Attached]:
        return list(self._nodes.values())

    def send(self, name: str, message: training_pb2.HubMessage) -> None:
        """To an attached node; a lost one will ask by itself when it is back. One that takes nothing is sent away."""
        if not (node := self._nodes.get(name)):
            return
        if node.outgoing.qsize() >= UNREAD:
            self.remove(node)
            node.outgoing = asyncio.Queue()
            node.outgoing.put_nowait(None)
            return
        node.outgoing.put_nowait(message)
