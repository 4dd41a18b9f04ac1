"""Which one of several hub processes on one PostgreSQL writes the ledger.

The leader holds a session's advisory lock on a connection of its own: when it dies, PostgreSQL frees the lock at once. A
process that is stopped (a paused machine, SIGSTOP) keeps its connections, so the leader also beats; who finds the beat
old ends the leader's sessions and takes the lock. What a leader that wakes up late must not do is stopped in two places:

- a commit moves the ledger's head in the database from the leader's own old head to the new one, under its epoch, in the
  transaction of the projections. A later leader has another epoch, and then nothing is committed;
- a head is signed and published only after that commit. So nothing is ever signed that another leader does not continue;
  the files of the log follow from what was committed, and are the same whoever writes them.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from sqlalchemy import make_url, text
from sqlmodel import Session

from hub.fuse import Fuse
from trust.errors import Unavailable
from trust.notes import TreeHead

LOCK = 0x636F616C6974  # any number that nobody else uses in this database
BEAT = 0.5
LEASE = 2.0
"""Seconds without a beat of its own after which a leader no longer believes in itself."""
STALE = 2.5
"""Seconds after which others no longer believe in it: more than LEASE, and a failover stays under five seconds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A hub process: its name in PostgreSQL's list of sessions (no spaces), and where others reach it (HOST:PORT)."""

    name: str
    address: str
    enrolment: str


class Election:
    """One process's part. `stand` until it answers true; from then on the lead is kept, or the fuse blows."""

    def __init__(self, url: str, me: Candidate, fuse: Fuse) -> None:
        self.url = _with(url, application_name=me.name)
        """Of the database, for all sessions of this process: they end together."""
        self.me, self._fuse = me, fuse
        self.known: Candidate | None = None
        self._epoch = 0
        self._beaten = 0.0
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._stopped = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, name="election", daemon=True)

    @property
    def leading(self) -> bool:
        return self._epoch > 0

    def stand(self) -> bool:
        """Try to become the leader, once; `known` is whoever leads then. Raises `Unavailable` when the database is away."""
        try:
            return self._stand(self._connected())
        except psycopg.Error as error:
            self._disconnect()
            raise Unavailable(f"The database does not answer: {error}.") from None

    def check(self) -> None:
        """Raises `Unavailable` unless the lead was confirmed a moment ago; others may believe it lost otherwise."""
        if not self.leading:
            raise Unavailable("This process of the hub does not lead.", "Try again: another one does, or soon will.")
        if time.monotonic() - self._beaten > LEASE:
            raise self._lost("no beat for too long")

    def seal(self, session: Session, head: TreeHead) -> None:
        """At the beginning of the lead: the log's head is the one that commits continue from."""
        values = {"size": head.size, "root": head.root.hex(), "epoch": self._epoch}
        self._must_change(session, "UPDATE ledger_head SET size = :size, root = :root WHERE epoch = :epoch", values)

    def advance(self, session: Session, before: TreeHead, after: TreeHead) -> None:
        """Move the head in the transaction that projects what is new. Raises `Unavailable` when another leads."""
        self.check()
        old = {"old_size": before.size, "old_root": before.root.hex(), "epoch": self._epoch}
        self._must_change(
            session,
            "UPDATE ledger_head SET size = :size, root = :root"
            " WHERE epoch = :epoch AND size = :old_size AND root = :old_root",
            {**old, "size": after.size, "root": after.root.hex()},
        )

    def committed(self, session: Session) -> tuple[int, str]:
        """Size and root (hexadecimal) of the newest head that a leader committed, published or not."""
        row = session.connection().execute(text("SELECT size, root FROM ledger_head")).one()
        return int(row[0]), str(row[1])

    def give_up(self, reason: str) -> Unavailable:
        """Stop leading because of an error; the refusal to give to whoever waits is returned."""
        return self._fuse.blow(reason)

    def resign(self) -> None:
        """Let another lead, at once."""
        self._stopped.set()
        if self._heart.is_alive():
            self._heart.join()
        self._disconnect()

    def _stand(self, connection: psycopg.Connection[tuple[object, ...]]) -> bool:
        row = connection.execute(
            "SELECT extract(epoch FROM clock_timestamp()) - beat > %s, name, address, enrolment FROM ledger_leader",
            (STALE,),
        ).fetchone()
        stale, self.known = (bool(row[0]), Candidate(*map(str, row[1:]))) if row else (False, None)
        (locked,) = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone() or (False,)
        if self.known and (locked or stale):
            _log.info("the sessions of the leader before, %s, are ended", self.known.name)
            _end_sessions(connection, self.known.name)
        if locked:
            self._begin(connection)
        return bool(locked)

    def _begin(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        began = time.monotonic()
        with connection.transaction():
            row = connection.execute(
                "INSERT INTO ledger_leader (id, epoch, name, address, enrolment, beat)"
                " VALUES (1, 1, %s, %s, %s, extract(epoch FROM clock_timestamp()))"
                " ON CONFLICT (id) DO UPDATE SET epoch = ledger_leader.epoch + 1, name = excluded.name,"
                " address = excluded.address, enrolment = excluded.enrolment, beat = excluded.beat RETURNING epoch",
                (self.me.name, self.me.address, self.me.enrolment),
            ).fetchone()
            epoch = int(str(row[0])) if row else 0
            connection.execute(
                "INSERT INTO ledger_head (id, epoch, size, root) VALUES (1, %s, 0, '')"
                " ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch",
                (epoch,),
            )
        self._epoch, self._beaten, self.known = epoch, began, self.me
        self._heart.start()
        _log.info("this process leads the hub (epoch %d)", epoch)

    def _keep_beating(self) -> None:
        while not self._stopped.wait(BEAT):
            began = time.monotonic()
            try:
                changed = self._connected().execute(
                    "UPDATE ledger_leader SET beat = extract(epoch FROM clock_timestamp()) WHERE epoch = %s",
                    (self._epoch,),
                )
            except psycopg.Error as error:
                self._lost(str(error).strip())
                return
            if changed.rowcount != 1:
                self._lost("another process leads")
                return
            self._beaten = began

    def _lost(self, why: str) -> Unavailable:
        return self._fuse.blow(f"this process no longer leads: {why}")

    def _must_change(self, session: Session, statement: str, values: dict[str, object]) -> None:
        result = session.connection().execute(text(statement), values)
        if result.rowcount != 1:
            raise self._lost("another process leads")

    def _connected(self) -> psycopg.Connection[tuple[object, ...]]:
        if self._connection is None:
            if self.leading:
                raise psycopg.OperationalError("the connection that holds the lead is gone")
            self._connection = psycopg.connect(
                _with(self.url, connect_timeout="3", tcp_user_timeout="3000", options="-cstatement_timeout=2000"),
                autocommit=True,
            )
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _with(url: str, **parameters: str) -> str:
    """The URL, as libpq reads it, with parameters of the connection."""
    plain = make_url(url).set(drivername="postgresql").update_query_dict(parameters)
    return plain.render_as_string(hide_password=False)


def _end_sessions(connection: psycopg.Connection[tuple[object, ...]], name: str) -> None:
    """All that a process has open: what it has begun and not committed is undone."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = %s AND pid <> pg_backend_pid()",
        (name,),
    )
