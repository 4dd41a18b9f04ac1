"""The one way facts enter: a signed statement is checked, appended to the log, then projected into the rooms' tables.

A single writer takes all that waits as one group: checks and projections run in one database transaction, the envelopes are
made durable together, the leaves go to the log in one durable append, then the transaction commits. If the process dies in
between, the log is ahead of the database, and the next start replays what is missing. Nobody is told before all is durable.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlmodel import Session

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger import entries, rows
from hub.ledger.election import Election
from hub.ledger.entries import Entry
from hub.ledger.grants import EVERYONE, grant
from hub.ledger.groups import Groups
from hub.ledger.log import Log
from hub.ledger.tables import LedgerEntry
from protos.coalition.v1 import common_pb2
from protos.documents import statements
from protos.documents.base import Claim
from protos.documents.leaf import Leaf
from protos.documents.statements import NAMED, Claimed
from trust.digests import Digest
from trust.errors import Conflict, Corrupt, Denied, Invalid, NotFound, Problem, Unavailable
from trust.keys import ArtifactKey
from trust.receipts import Receipt

_log = logging.getLogger(__name__)

SHARED_SECONDS = 3600.0
"""What another process writes into the store is at rest for less than this."""


Project: TypeAlias = Callable[[Session, Entry], None]
Check: TypeAlias = Callable[[Session, Claimed], None]
Prove: TypeAlias = Callable[[Session, Claimed, bytes], Claimed]


@dataclass
class _Waiting:
    claimed: Claimed
    envelope: bytes
    done: Future[Entry] = field(default_factory=Future)


@dataclass(frozen=True)
class _Answer:
    waiting: _Waiting
    entry: Entry


class Journal:
    """`prove` finds the keys of a member that signed an envelope; rooms register their checks and projections before `start`.

    With an `election` there are several processes: all read, `follow` sees what the leader recorded, and `start` is for the
    one that was elected.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        log: Log,
        key: ArtifactKey,
        prove: Prove,
        election: Election | None = None,
    ) -> None:
        self.origin = log.head.origin
        self._election = election
        self._seen = log.size
        self._following = threading.Lock()
        self._database, self._blobs, self._log, self._key, self._prove = database, blobs, log, key, prove
        self._projections: dict[str, list[Project]] = {}
        self._checks: dict[str, list[Check]] = {}
        self._listeners: list[Callable[[Entry], None]] = []
        self._groups = Groups(self._commit, "journal")

    @property
    def size(self) -> int:
        """Entries in the ledger."""
        return self._log.size

    def register(self, kind: str, project: Project | None = None, check: Check | None = None) -> None:
        """Add a room's part to a kind of statement: `check` may refuse by raising a Problem, `project` writes tables."""
        if project is not None:
            self._projections.setdefault(kind, []).append(project)
        if check is not None:
            self._checks.setdefault(kind, []).append(check)

    def listen(self, callback: Callable[[Entry], None]) -> None:
        """Call `callback` after every commit, in the writer's thread."""
        self._listeners.append(callback)

    def start(self) -> None:
        """Replay what the log has and the database lacks, then accept statements."""
        if self._election:
            self._publish_committed(self._election)
        with self._database.session(writing=True) as session:
            self._catch_up(session)
            if self._election:
                self._election.seal(session, self._log.head)
        self._groups.start()

    def replay(self, stop: int) -> None:
        """Project what the database lacks of the log's first `stop` entries, and accept nothing. Raises as `start`."""
        if stop > self._log.size:
            self._log.refresh()
        with self._database.session(writing=True) as session:
            self._catch_up(session, stop)

    def follow(self) -> None:
        """As one of several processes: see what the leader published since, and tell the listeners."""
        with self._following:
            if self._election and not self._election.leading and self._log.refresh():
                with self._database.session() as session:
                    found = rows.between(session, self._seen, self.size)
                self._seen = self.size
                for row in found:
                    self._tell(entries.of_row(self._blobs, row))

    def stop(self) -> None:
        """Finish what is queued."""
        self._groups.stop()

    def record(self, envelope: bytes, caller: str) -> Entry:
        """Record a member's statement; the same payload again answers with the first entry.

        Raises `Invalid` for a malformed one, `Denied` for another's or a wrongly signed one, and what the rooms' checks raise.
        """
        claimed = self.read(envelope, caller)
        return self._enqueue(claimed, envelope)

    def read(self, envelope: bytes, caller: str) -> Claimed:
        """Verify a member's statement without recording it. Raises as `record`.

        What the ledger holds already was signed by a key of its time; said again, it only answers.
        """
        claimed = statements.read(envelope)
        if claimed.claim.hub != self.origin:
            raise Denied(f"The statement was signed for the hub {claimed.claim.hub!r}, and this is {self.origin!r}.")
        if claimed.claim.signer != caller:
            raise Denied(f"The statement is {claimed.claim.signer!r}'s, and you are {caller!r}.")
        with self._database.session() as session:
            if rows.by_payload(session, claimed.payload):
                return claimed
            return self._prove(session, claimed, envelope)

    def sign_and_record(self, claim: Claim) -> Entry:
        """Sign a fact of the hub's own and record it."""
        envelope = statements.sign(claim, self._key)
        return self._enqueue(statements.read(envelope), envelope)

    def find(self, payload: Digest) -> Entry | None:
        """The entry that recorded this payload, if any."""
        with self._database.session() as session:
            row = rows.by_payload(session, payload)
            return entries.of_row(self._blobs, row) if row and row.index < self.size else None

    def receipt(self, index: int) -> common_pb2.Receipt:
        """Proof that entry `index` is under a signed tree head, a cosigned one as soon as there is one. Raises `NotFound`."""
        if index >= self.size:
            self.follow()
        note, head = self._log.head_over(index)
        reader = self._log.reader(head)
        if not 0 <= index < reader.size:
            raise NotFound(f"The ledger has {reader.size} entries; there is no entry {index}.")
        proof = Receipt(index, tuple(reader.inclusion(index)), note).encode()
        return common_pb2.Receipt(index=index, leaf=reader.entry(index), proof=proof)

    # --- the writer --------------------------------------------------------------------------------------------------

    def _enqueue(self, claimed: Claimed, envelope: bytes) -> Entry:
        if self._election:
            self._election.check()
        waiting = _Waiting(claimed, envelope)
        self._groups.add(waiting)
        return waiting.done.result()

    def _commit(self, group: list[_Waiting]) -> None:
        fresh: list[_Answer] = []
        replays: list[_Answer] = []
        try:
            with self._database.session(writing=True) as session:
                self._catch_up(session)
                known = self._recorded(session, group)
                names = rows.names(session, [waiting.claimed.id for waiting in group])
                for waiting in group:
                    if entry := known.get(waiting.claimed.payload):
                        replays.append(_Answer(waiting, entry))
                    elif entry := self._admit(session, waiting, self._log.size + len(fresh), names):
                        known[entry.payload] = entry
                        names.add((entry.kind, entry.id))
                        fresh.append(_Answer(waiting, entry))
                leaves = [rows.leaf(answer.entry) for answer in fresh]
                self._keep(session, fresh, leaves)
            if self._election and leaves:
                self._election.check()
                self._log.append(leaves)
        except Exception as error:
            refusal = error if isinstance(error, Problem) else self._failed(error)
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_exception(refusal)
            return
        for answer in fresh:
            self._tell(answer.entry)
        for answer in (*fresh, *replays):
            answer.waiting.done.set_result(answer.entry)

    def _recorded(self, session: Session, group: list[_Waiting]) -> dict[Digest, Entry]:
        """What of the group is in the ledger already."""
        found = rows.by_payloads(session, [waiting.claimed.payload for waiting in group])
        return {Digest(row.payload): entries.of_row(self._blobs, row) for row in found}

    def _keep(self, session: Session, answers: list[_Answer], leaves: list[bytes]) -> None:
        """Envelopes first: the log names nothing that is not there.

        Alone, the log comes before the database's commit, and is the source. One of several processes commits first, because
        the commit is what only the leader can do, and what a later leader publishes if this one dies.
        """
        if not leaves:
            return
        self._blobs.put_group(answer.waiting.envelope for answer in answers)
        if self._election:
            self._election.advance(session, self._log.head, self._log.ahead(leaves))
        else:
            self._log.append(leaves)

    def _failed(self, error: Exception) -> Problem:
        """Whether a commit that failed took place is unknown: one of several processes then leaves the lead."""
        reason = f"the ledger could not be written: {getattr(error, 'orig', None) or error}"  # the cause, and no SQL
        return self._election.give_up(reason) if self._election else Unavailable(f"{reason[0].upper()}{reason[1:]}.")

    def _publish_committed(self, election: Election) -> None:
        """What the leader before us committed and did not publish: the same entries, and so the same head."""
        self._log.reload()
        self._log.sweep()
        self._blobs.sweep(older=SHARED_SECONDS)
        with self._database.session() as session:
            size, root = election.committed(session)
            leaves = [rows.leaf(row) for row in rows.between(session, self.size)]
        if size < self.size or not root:
            return  # the database is an older copy, or new: it catches up
        if size - self.size != len(leaves) or self._log.ahead(leaves).root.hex() != root:
            raise Corrupt(
                f"The database committed a head of {size} entries that the ledger's {self.size} do not lead to.",
                "Restore the ledger directory; if it is right, run `coalition-hub rebuild`.",
            )
        if leaves:
            self._log.append(leaves)

    def _tell(self, entry: Entry) -> None:
        for listener in self._listeners:
            listener(entry)

    def _admit(
        self, session: Session, waiting: _Waiting, index: int, names: AbstractSet[tuple[str, str]]
    ) -> Entry | None:
        """Check and project one statement as entry `index`; a refusal undoes its own writes and nobody else's."""
        entry = entries.new(index, waiting.claimed, waiting.envelope)
        try:
            if not isinstance(entry.claim, NAMED) and (entry.kind, entry.id) in names:
                raise Conflict(
                    f"Another {entry.kind} in the ledger is called {entry.id}.",
                    "Make the statement anew: the time in it makes it another.",
                )
            with session.begin_nested():
                self._check(session, waiting.claimed)
                self._project(session, entry)
        except Problem as problem:
            waiting.done.set_exception(problem)
            return None
        except Exception as error:  # a fault of ours that one statement brings out: the others, and this process, go on
            if _of_the_store(error):
                raise
            _log.exception("%s of %s could not be recorded", entry.id, entry.signer)
            waiting.done.set_exception(
                Invalid(f"{entry.id} could not be recorded, by a fault of the hub.", "Its log tells the operator why.")
            )
            return None
        return entry

    def _check(self, session: Session, claimed: Claimed) -> None:
        for check in self._checks.get(claimed.kind, ()):
            check(session, claimed)

    def _project(self, session: Session, entry: Entry) -> None:
        session.add(LedgerEntry(**{name: getattr(entry, name) for name in LedgerEntry.model_fields}))
        grant(session, entry.envelope, EVERYONE)
        for project in self._projections.get(entry.kind, ()):
            project(session, entry)
        session.flush()

    def _catch_up(self, session: Session, stop: int | None = None) -> None:
        count, size = rows.count(session), self._log.size
        if count > size:
            raise Corrupt(
                f"The database knows {count} entries and the ledger holds {size}.",
                "Restore the ledger directory, or delete the database: it is rebuilt from the ledger.",
            )
        stop = size if stop is None else min(stop, size)
        leaves = self._log.reader().entries(count, stop) if count < stop else ()
        for index, leaf in enumerate(leaves, start=count):
            self._project(session, self._replayed(session, index, leaf))

    def _replayed(self, session: Session, index: int, data: bytes) -> Entry:
        leaf = Leaf.decode(data)
        envelope = entries.envelope_of(self._blobs, index, leaf)
        claimed = statements.read(envelope)
        return entries.of_leaf(index, leaf, claimed, self._key_of(session, claimed, envelope))

    def _key_of(self, session: Session, claimed: Claimed, envelope: bytes) -> str:
        """Of the keys that speak for the signer at this entry, the one that signed; audits name an entry that none signed."""
        if claimed.claim.signer == statements.HUB:
            return ""
        with suppress(Denied):
            return self._prove(session, claimed, envelope).proved[0]
        return ""


def _of_the_store(error: Exception) -> bool:
    """Whether the disk or the database failed, which says nothing about a statement."""
    if isinstance(error, DBAPIError):
        return not isinstance(error, IntegrityError | DataError)
    return isinstance(error, OSError | MemoryError)
