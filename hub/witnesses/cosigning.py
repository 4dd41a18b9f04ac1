"""Asks the attached witnesses to cosign the newest tree head, over and over; keeps the head that reached its quorum.

Heads are coalesced: while witnesses think, the ledger grows on, and only its newest head is asked for next. All are asked for
the same head at a time, else a busy ledger would never see a majority under one.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field

from hub.database import Database
from hub.ledger import rows
from hub.ledger.entries import Entry
from hub.ledger.journal import Journal
from hub.ledger.log import Log
from hub.witnesses import roll
from hub.witnesses.attached import AttachedWitness
from hub.witnesses.finality import Finality
from protos.coalition.v1 import witnesses_pb2
from protos.documents.witnesses import Quorum, current, quorum
from trust.cosignatures import Cosignature, cosignatures, with_cosignatures
from trust.errors import Invalid, Problem, Unavailable
from trust.notes import TreeHead
from trust.witnessing import AddCheckpoint

IDLE = 5.0
ROUND_SECONDS = 5.0  # then the next head is asked for; who is slow answers for the old one
TRIES = 4
_SIZE_DIGITS = 20
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Gathered:
    """A tree head, what it needs, the raw keys of all witnesses that stand under it, and the cosignatures that came so far."""

    note: bytes
    head: TreeHead
    quorum: Quorum
    standing: frozenset[bytes]
    found: dict[bytes, Cosignature] = field(default_factory=dict)

    def cosigned(self) -> bytes:
        """The note with its cosignature lines."""
        return with_cosignatures(self.note, [each.line for each in self.found.values()])


class Cosigning:
    """The hub's side of every witness's conversation."""

    def __init__(self, *, database: Database, log: Log, journal: Journal) -> None:
        self._database, self._ledger, self._journal = database, log, journal
        self._news = asyncio.Event()
        self._keeping = asyncio.Lock()
        self._asking: set[asyncio.Task[None]] = set()
        self.attached: dict[str, AttachedWitness] = {}
        self.gathered: Gathered | None = None

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._journal.listen(lambda entry: self._heard(loop, entry))
        try:
            while True:
                self._news.clear()
                await self._round()
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE):
                        await self._news.wait()
        finally:
            for task in self._asking:
                task.cancel()

    def attach(self, witness: AttachedWitness) -> None:
        """One conversation per member: a new one ends the old."""
        if old := self.attached.get(witness.member):
            old.leave()
        self.attached[witness.member] = witness
        self._news.set()
        _log.info("the witness of %s is attached", witness.member)

    def detach(self, witness: AttachedWitness) -> None:
        witness.leave()
        if self.attached.get(witness.member) is witness:
            del self.attached[witness.member]
            _log.info("the witness of %s went away", witness.member)

    def _heard(self, loop: asyncio.AbstractEventLoop, entry: Entry) -> None:
        if not self._news.is_set() and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    async def _round(self) -> None:
        """Ask all who have not answered for the newest head; move on when they did, or after a while."""
        attached = list(self.attached.values())  # before we look who stands
        gathered = await asyncio.to_thread(self._newest)
        if gathered is None:
            return
        for witness in attached:
            if witness.key.raw not in gathered.standing:
                self.detach(witness)  # a revocation disowned its key: who still may, states one anew and comes back
        if self.gathered is None or self.gathered.note != gathered.note:
            self.gathered = gathered
        asked = [
            self._begin(witness, self.gathered)
            for witness in self.attached.values()
            if not witness.busy and witness.key.raw not in self.gathered.found and witness.refused != gathered.note
        ]
        if asked:
            await asyncio.wait(asked, timeout=ROUND_SECONDS)

    def _newest(self) -> Gathered | None:
        """The newest head with the quorum that its own entries ask for; none while the database lags behind the log."""
        note, head = self._ledger.signed_head()
        with self._database.session() as session:
            if not 0 < head.size <= rows.count(session):
                return None
            witnesses, policies = roll.enrolled(session), roll.policies(session)
        standing = frozenset(each.key.raw for each in current(witnesses, head.size))
        return Gathered(note, head, quorum(witnesses, policies, head.size), standing)

    def _begin(self, witness: AttachedWitness, gathered: Gathered) -> asyncio.Task[None]:
        witness.busy = True
        task = asyncio.create_task(self._ask(witness, gathered))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _ask(self, witness: AttachedWitness, gathered: Gathered) -> None:
        try:
            found = await self._cosignature(witness, gathered)
            gathered.found[witness.key.raw] = found
            witness.size, witness.time, witness.trouble = gathered.head.size, found.time, ""
            await self._keep(gathered)
        except Problem as problem:
            witness.trouble = problem.what
            if not isinstance(problem, Unavailable):
                witness.refused = gathered.note
            _log.warning("witness of %s, head %d: %s", witness.member, gathered.head.size, problem.what)
        finally:
            witness.busy = False
            if self.gathered is not gathered:
                self._news.set()  # it was slow, and lacks the newest

    async def _cosignature(self, witness: AttachedWitness, gathered: Gathered) -> Cosignature:
        """Ask with the proof from what it cosigned last; its 409 says from where. Raises a Problem."""
        for _ in range(TRIES):
            if witness.size > gathered.head.size:
                raise Invalid(
                    f"It cosigned {witness.size} entries and the ledger holds {gathered.head.size}: "
                    "this ledger was rolled back or is another one."
                )
            proof = await asyncio.to_thread(self._ledger.reader(gathered.head).consistency, witness.size)
            request = AddCheckpoint(witness.size, tuple(proof), gathered.note)
            answer = await witness.ask(request.encode())
            if answer.status == 200:
                return _valid(witness, gathered, answer.body)
            size = _size(answer)
            if size is None or size == witness.size:
                break
            witness.size = size
        raise Invalid(f"It answered {answer.status}: {answer.body[:200].decode('utf-8', 'replace').strip()}")

    async def _keep(self, gathered: Gathered) -> None:
        """Durable before anybody calls it final."""
        async with self._keeping:
            note = gathered.cosigned()
            if not gathered.quorum.met_by(note) or gathered.head.size < Finality(self._ledger).witnessed_size():
                return
            await asyncio.to_thread(self._ledger.keep_witnessed, note)


def _valid(witness: AttachedWitness, gathered: Gathered, lines: bytes) -> Cosignature:
    """The witness's own cosignature among the lines. Raises `Invalid`."""
    found = cosignatures(with_cosignatures(gathered.note, [lines]), [witness.key])
    if not found:
        raise Invalid("Its answer holds no cosignature of its key.")
    return found[0]


def _size(answer: witnesses_pb2.AddCheckpointAnswer) -> int | None:
    """What a 409 says: the size of the tree that it cosigned last."""
    text = answer.body.strip()
    return int(text) if answer.status == 409 and text.isdigit() and len(text) < _SIZE_DIGITS else None
