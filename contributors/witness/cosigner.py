"""A member's witness: answers add-checkpoint requests (c2sp.org/tlog-witness), however they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from contributors.home import Home
from contributors.witness.memory import Memory
from trust import merkle
from trust.cosignatures import cosign
from trust.errors import Problem
from trust.forks import Fork, OneHistory, verify_fork
from trust.keys import LogPublicKey, WitnessKey
from trust.merkle import GetNode
from trust.notes import claimed_head
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
        """Judge, persist, cosign: in this order, and nobody else in between. So a cosignature's time is never later than that
        of a larger head: it says that at its time none was known.
        """
        known = b""
        with self.memory.held():
            judged = judge(body, self.logs, self.memory.latest)
            if isinstance(judged, Accepted):
                self.memory.remember(judged.head.origin, judged.note)
                line = cosign(judged.note, self.key, int(self._clock()))
            elif judged.suspect:
                known = self.memory.note(claimed_head(judged.suspect.note).origin) or b""
        if isinstance(judged, Refused):
            self._refuse(judged, known, nodes)
            return Answer(judged.status, judged.body, judged.content_type)
        self._tell(Event("cosigned", judged.head.size))
        return Answer(200, line)

    def _refuse(self, refused: Refused, known: bytes, nodes: Nodes | None) -> None:
        if refused.suspect is None:
            if refused.status != 409:  # how a hub learns from where to prove
                self._tell(Event("refused", message=refused.why))
            return
        size = claimed_head(refused.suspect.note).size
        try:
            fork, proven = self._fork(known, refused.suspect, nodes)
        except OneHistory:  # an older head of the same log, or a proof that was wrong and need not have been
            self._tell(Event("refused", size, refused.why))
            return
        path = self.memory.keep_proof(fork.encode(), proven=proven) or ""
        if proven:
            message = "The hub signed two histories. The proof is kept: show it to the other members."
            self._tell(Event("fork", size, message, str(path)))
        else:
            kept = "Both are kept." if path else "So many such heads are kept that this one is not."
            message = f"The hub signed a head and did not prove that it and the last one are of one history. {kept}"
            self._tell(Event("suspect", size, message, str(path)))

    def _fork(self, known: bytes, suspect: AddCheckpoint, nodes: Nodes | None) -> tuple[Fork, bool]:
        """Both notes, and the path that proves them a fork where the request or the log's own tiles hold one.

        Raises `OneHistory` where such a path proves the opposite.
        """
        smaller, larger = sorted((known, suspect.note), key=lambda note: claimed_head(note).size)
        for path in ((), suspect.proof, _prefix_path(smaller, larger, nodes)):
            fork = Fork(smaller, larger, path)
            try:
                verify_fork(fork, self.logs[claimed_head(known).origin])
            except OneHistory:
                raise
            except Problem:
                continue
            return fork, True
        return Fork(smaller, larger), False


def _prefix_path(smaller: bytes, larger: bytes, nodes: Nodes | None) -> tuple[bytes, ...]:
    """The path through the log's own tree, as it tells it; empty where it does not."""
    old, new = claimed_head(smaller).size, claimed_head(larger).size
    if nodes is None or not 0 < old < new:
        return ()
    try:
        return tuple(merkle.prefix_path(old, new, nodes(new)))
    except Problem:
        return ()
