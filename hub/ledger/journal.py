"""The one way facts enter: a signed statement is checked, appended to the log, then projected into the rooms' tables.

A single writer takes all that waits as one group: checks and projections run in one database transaction, the envelopes are
made durable together, the leaves go to the log in one durable append, then the transaction commits. If the process dies in
between, the log is ahead of the database, and the next start replays what is missing. Nobody is told before all is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

from sqlmodel import Session, func, select

from hub.blobs import BlobStore
from hub.database import Database
from hub.ledger.grants import EVERYONE, grant
from hub.ledger.groups import Groups
from hub.ledger.log import Log
from hub.ledger.tables import LedgerEntry
from protos.coalition.v1 import common_pb2
from protos.documents import statements
from protos.documents.base import Claim, now
from protos.documents.leaf import Leaf
from protos.documents.statements import Claimed
from trust.digests import Digest, digest_bytes
from trust.errors import Corrupt, Denied, NotFound, Problem, Unavailable
from trust.keys import ArtifactKey, ArtifactPublicKey
from trust.receipts import Receipt
from trust.statements import payload_digest, verify_statement

MAX_ENVELOPE = 4 << 20


@dataclass(frozen=True)
class Entry:
    """A fact: what entry `index` of the ledger records. `signer` is a member's identifier, or `hub`."""

    index: int
    kind: str
    signer: str
    id: str
    time: str
    envelope: Digest
    payload: Digest
    claim: Claim


Project: TypeAlias = Callable[[Session, Entry], None]
Check: TypeAlias = Callable[[Session, Claimed], None]
KeyOf: TypeAlias = Callable[[Session, str], ArtifactPublicKey]


@dataclass
class _Waiting:
    claimed: Claimed
    envelope: bytes
    done: Future[Entry] = field(default_factory=Future)


@dataclass(frozen=True)
class _Answer:
    waiting: _Waiting
    entry: Entry
    fresh: bool


class Journal:
    """`key_of` finds the artifact key of a member; rooms register their checks and projections before `start`."""

    def __init__(self, database: Database, blobs: BlobStore, log: Log, key: ArtifactKey, key_of: KeyOf) -> None:
        self.origin = log.head.origin
        self._database, self._blobs, self._log, self._key, self._key_of = database, blobs, log, key, key_of
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
        with self._database.session(writing=True) as session:
            self._catch_up(session)
        self._groups.start()

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
        """Verify a member's statement without recording it. Raises as `record`."""
        claimed = statements.read(envelope)
        if claimed.claim.hub != self.origin:
            raise Denied(f"The statement was signed for the hub {claimed.claim.hub!r}, and this is {self.origin!r}.")
        if claimed.claim.signer != caller:
            raise Denied(f"The statement is {claimed.claim.signer!r}'s, and you are {caller!r}.")
        with self._database.session() as session:
            key = self._key_of(session, caller)
        verify_statement(envelope, key)
        return claimed

    def sign_and_record(self, claim: Claim) -> Entry:
        """Sign a fact of the hub's own and record it."""
        envelope = statements.sign(claim, self._key)
        return self._enqueue(statements.read(envelope), envelope)

    def find(self, payload: Digest) -> Entry | None:
        """The entry that recorded this payload, if any."""
        with self._database.session() as session:
            row = _by_payload(session, payload)
            return self._entry(row) if row else None

    def receipt(self, index: int) -> common_pb2.Receipt:
        """Proof that entry `index` is under the current signed tree head. Raises `NotFound`."""
        note, head = self._log.signed_head()
        reader = self._log.reader(head)
        if not 0 <= index < reader.size:
            raise NotFound(f"The ledger has {reader.size} entries; there is no entry {index}.")
        proof = Receipt(index, tuple(reader.inclusion(index)), note).encode()
        return common_pb2.Receipt(index=index, leaf=reader.entry(index), proof=proof)

    # --- the writer --------------------------------------------------------------------------------------------------

    def _enqueue(self, claimed: Claimed, envelope: bytes) -> Entry:
        with self._database.session() as session:  # refuse early, so that a refused statement leaves no blob
            if row := _by_payload(session, claimed.payload):
                return self._entry(row)
            self._check(session, claimed)
        waiting = _Waiting(claimed, envelope)
        self._groups.add(waiting)
        return waiting.done.result()

    def _commit(self, group: list[_Waiting]) -> None:
        answers: list[_Answer] = []
        try:
            with self._database.session(writing=True) as session:
                self._catch_up(session)
                fresh: list[_Answer] = []
                for waiting in group:
                    if answer := self._admit(session, waiting, self._log.size + len(fresh)):
                        answers.append(answer)
                        fresh += [answer] if answer.fresh else []
                self._keep(fresh)
        except Exception as error:
            refusal = error if isinstance(error, Problem) else Unavailable(f"The ledger could not be written: {error}.")
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_exception(refusal)
            return
        for answer in answers:
            for listener in self._listeners if answer.fresh else ():
                listener(answer.entry)
            answer.waiting.done.set_result(answer.entry)

    def _keep(self, answers: list[_Answer]) -> None:
        """Envelopes first: the log names nothing that is not there."""
        if answers:
            self._blobs.put_group(answer.waiting.envelope for answer in answers)
            self._log.append([_leaf(answer.entry).encode() for answer in answers])

    def _admit(self, session: Session, waiting: _Waiting, index: int) -> _Answer | None:
        """Check and project one statement as entry `index`; a refusal undoes its own writes and nobody else's."""
        try:
            if row := _by_payload(session, waiting.claimed.payload):
                return _Answer(waiting, self._entry(row), fresh=False)
            entry = _new_entry(index, waiting)
            with session.begin_nested():
                self._check(session, waiting.claimed)
                self._project(session, entry)
        except Problem as problem:
            waiting.done.set_exception(problem)
            return None
        return _Answer(waiting, entry, fresh=True)

    def _check(self, session: Session, claimed: Claimed) -> None:
        for check in self._checks.get(claimed.kind, ()):
            check(session, claimed)

    def _project(self, session: Session, entry: Entry) -> None:
        session.add(LedgerEntry(**{name: getattr(entry, name) for name in LedgerEntry.model_fields}))
        grant(session, entry.envelope, EVERYONE)
        for project in self._projections.get(entry.kind, ()):
            project(session, entry)
        session.flush()

    def _catch_up(self, session: Session) -> None:
        newest = session.exec(select(func.max(LedgerEntry.index))).one()
        count = 0 if newest is None else newest + 1
        if count > self._log.size:
            raise Corrupt(
                f"The database knows {count} entries and the ledger holds {self._log.size}.",
                "Restore the ledger directory, or delete the database: it is rebuilt from the ledger.",
            )
        for index, leaf in enumerate(_entries(self._log, count), start=count):
            self._project(session, self._replayed(index, leaf))

    def _replayed(self, index: int, data: bytes) -> Entry:
        leaf = Leaf.decode(data)
        envelope = self._blobs.read(Digest(leaf.envelope), MAX_ENVELOPE)
        if payload_digest(envelope) != leaf.payload:
            raise Corrupt(f"Entry {index} of the ledger does not match its envelope {leaf.envelope}.")
        return Entry(
            index,
            leaf.kind,
            leaf.signer,
            leaf.id,
            leaf.time,
            digest_bytes(envelope),
            Digest(leaf.payload),
            statements.read(envelope).claim,
        )

    def _entry(self, row: LedgerEntry) -> Entry:
        claim = statements.read(self._blobs.read(Digest(row.envelope), MAX_ENVELOPE)).claim
        return Entry(
            row.index, row.kind, row.signer, row.id, row.time, Digest(row.envelope), Digest(row.payload), claim
        )


def _entries(log: Log, start: int) -> Iterable[bytes]:
    return log.reader().entries(start, log.size) if start < log.size else ()


def _by_payload(session: Session, payload: Digest) -> LedgerEntry | None:
    return session.exec(select(LedgerEntry).where(LedgerEntry.payload == payload)).first()


def _new_entry(index: int, waiting: _Waiting) -> Entry:
    claimed = waiting.claimed
    return Entry(
        index,
        claimed.kind,
        claimed.claim.signer,
        claimed.id,
        now(),
        digest_bytes(waiting.envelope),
        claimed.payload,
        claimed.claim,
    )


def _leaf(entry: Entry) -> Leaf:
    return Leaf(
        envelope=entry.envelope,
        id=entry.id,
        kind=entry.kind,
        payload=entry.payload,
        signer=entry.signer,
        time=entry.time,
    )
