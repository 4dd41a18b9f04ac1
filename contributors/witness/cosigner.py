"""A member's witness: answers add-checkpoint requests (c2sp.org/tlog-witness), however they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from contributors.home import Home
from contributors.witness.memory import Memory
from trust import merkle
from trust.cosignatures import cosign
from trust.errors import Problem
from trust.forks import Fork, verify_fork
from trust.keys import LogPublicKey, WitnessKey
from trust.merkle import GetNode
from trust.notes import TreeHead, claimed_head
from trust.witnessing import Accepted, AddCheckpoint, Refused, judge

COSIGNATURE_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Event:
    """What happened, for whoever watches: `size` is the tree's, `path` a file that was kept."""

    kind: Literal["enrolled", "attached", "cosigned", "refused", "fork", "suspect", "away"]
    size: int = 0
    message: str = ""
    path: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """As over HTTP."""

    status: int
    body: bytes
    content_type: str = COSIGNATURE_TYPE


Tell = Callable[[Event], None]
Nodes = Callable[[int], GetNode]
"""The nodes of the log's own tree of so many entries, to complete a proof with. May raise a Problem."""


def witness_key(home: Home) -> WitnessKey:
    """The home's, made on first use; only its owner may read it. Its name is the hub's and the member's."""
    path, identity = home.directory / "witness" / "key", home.identity()
    if path.exists():
        return WitnessKey.load(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = WitnessKey.generate(f"{identity.hub}/{identity.id}")
    key.save(path)
    return key


class Cosigner:
    """One home's witness of its hub's log. `clock` is POSIX time in seconds."""

    def __init__(self, home: Home, tell: Tell, clock: Callable[[], float] = time.time) -> None:
        key = home.ledger_key()
        self.key = witness_key(home)
        self.logs: dict[str, LogPublicKey] = {key.name: key}
        self.memory = Memory(home.directory / "witness", self.logs)
        self._tell, self._clock = tell, clock

    def answer(self, body: bytes, nodes: Nodes | None = None) -> Answer:
        """Judge, persist, cosign: in this order, and nobody else in between."""
        known: dict[str, bytes | None] = {}

        def latest(origin: str) -> TreeHead | None:
            known[origin] = self.memory.note(origin)
            return self.memory.latest(origin)

        with self.memory.held():
            judged = judge(body, self.logs, latest)
            if isinstance(judged, Accepted):
                self.memory.remember(judged.head.origin, judged.note)
        if isinstance(judged, Refused):
            self._refuse(judged, next(iter(known.values()), None) or b"", nodes)
            return Answer(judged.status, judged.body, judged.content_type)
        line = cosign(judged.note, self.key, int(self._clock()))
        self._tell(Event("cosigned", judged.head.size))
        return Answer(200, line)

    def _refuse(self, refused: Refused, known: bytes, nodes: Nodes | None) -> None:
        if refused.suspect is None:
            if refused.status != 409:  # how a hub learns from where to prove
                self._tell(Event("refused", message=refused.why))
            return
        fork, proven = self._fork(known, refused.suspect, nodes)
        path = self.memory.keep_proof(fork.encode())
        size = claimed_head(refused.suspect.note).size
        if proven:
            message = "The hub signed two histories. The proof is kept: show it to the other members."
            self._tell(Event("fork", size, message, str(path)))
        else:
            message = "The hub signed a head and did not prove that it extends the last one. Both are kept."
            self._tell(Event("suspect", size, message, str(path)))

    def _fork(self, known: bytes, suspect: AddCheckpoint, nodes: Nodes | None) -> tuple[Fork, bool]:
        """Both notes, and the path that proves them a fork where the request or the log's own tiles hold one."""
        for path in ((), suspect.proof, self._prefix_path(known, suspect.note, nodes)):
            fork = Fork(known, suspect.note, path)
            with suppress(Problem):
                verify_fork(fork, self.logs[claimed_head(known).origin])
                return fork, True
        return Fork(known, suspect.note), False

    def _prefix_path(self, known: bytes, shown: bytes, nodes: Nodes | None) -> tuple[bytes, ...]:
        if nodes is None:
            return ()
        old, new = claimed_head(known).size, claimed_head(shown).size
        try:
            return tuple(merkle.prefix_path(old, new, nodes(new)))
        except Problem:
            return ()
