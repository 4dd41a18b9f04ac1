"""A ledger entry as a row of the database and as a leaf of the log: either follows from the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlmodel import Session, col, func, select

from hub.ledger.tables import LedgerEntry
from protos.documents.leaf import Leaf
from trust.digests import Digest


class Recorded(Protocol):
    """What both hold."""

    @property
    def kind(self) -> str: ...

    @property
    def signer(self) -> str: ...

    @property
    def id(self) -> str: ...

    @property
    def time(self) -> str: ...

    @property
    def envelope(self) -> str: ...

    @property
    def payload(self) -> str: ...


def leaf(recorded: Recorded) -> bytes:
    """The bytes that the log holds."""
    return Leaf(
        envelope=recorded.envelope,
        id=recorded.id,
        kind=recorded.kind,
        payload=recorded.payload,
        signer=recorded.signer,
        time=recorded.time,
    ).encode()


def by_payload(session: Session, payload: Digest) -> LedgerEntry | None:
    return session.exec(select(LedgerEntry).where(LedgerEntry.payload == payload)).first()


def by_payloads(session: Session, payloads: Sequence[Digest]) -> Sequence[LedgerEntry]:
    return session.exec(select(LedgerEntry).where(col(LedgerEntry.payload).in_(payloads))).all()


def names(session: Session, identifiers: Sequence[str]) -> set[tuple[str, str]]:
    """The kinds of statement that are called so already, with what they are called."""
    query = select(LedgerEntry.kind, LedgerEntry.id).where(col(LedgerEntry.id).in_(identifiers))
    return set(session.exec(query).all())


def count(session: Session) -> int:
    """Entries that the database knows."""
    newest = session.exec(select(func.max(LedgerEntry.index))).one()
    return 0 if newest is None else newest + 1


def between(session: Session, start: int, stop: int | None = None) -> Sequence[LedgerEntry]:
    """The rows from entry `start` on, in order, up to `stop`."""
    query = select(LedgerEntry).where(col(LedgerEntry.index) >= start).order_by(col(LedgerEntry.index))
    return session.exec(query if stop is None else query.where(col(LedgerEntry.index) < stop)).all()
