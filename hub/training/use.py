"""What runs hold of the machines: every checkpoint and end of a run says it in the ledger, and fair shares follow from that.

What no entry tells yet is kept beside: how much a run held up to a moment, and how many ranks it has held since.
"""

from __future__ import annotations

from sqlmodel import Session, select

from hub.ledger.entries import Entry
from hub.training.placement.shares import Usage, Use, used
from hub.training.tables import HoldingRow, RunRow, UseRow
from protos.documents.base import moment


def project(run: RunRow) -> str:
    """For which a run counts: the one that its spec names, or whoever launched it."""
    return str(run.spec["placement"]["project"] or run.launched_by)


def hold(session: Session, run: str, ranks: int, now: float) -> None:
    """From `now` on, seconds of the epoch, a run has so many ranks; 0 while it waits."""
    held = untold(session, run, now)
    session.merge(HoldingRow(run=run, rank_seconds=held, ranks=ranks, since=now))


def untold(session: Session, run: str, now: float) -> float:
    """Rank-seconds that a run has held up to now, and that no entry tells."""
    row = session.get(HoldingRow, run)
    return row.rank_seconds + row.ranks * max(0.0, now - row.since) if row else 0.0


def tell(session: Session, entry: Entry, run: RunRow, rank_seconds: float) -> None:
    """An entry says so: from then on that counts."""
    session.add(UseRow(index=entry.index, project=project(run), rank_seconds=rank_seconds, at=entry.time))
    if row := session.get(HoldingRow, run.id):
        row.rank_seconds -= rank_seconds
        session.add(row)


def release(session: Session, run: str) -> None:
    """The run has ended, and entries tell all that it held."""
    if row := session.get(HoldingRow, run):
        session.delete(row)


def usage(session: Session, now: float) -> Usage:
    """By project: what entries tell, each as old as it is, and what none tells yet."""
    told = [
        Use(row.project, row.rank_seconds, moment(row.at).timestamp()) for row in session.exec(select(UseRow)).all()
    ]
    holding = session.exec(select(RunRow).where(RunRow.outcome == "")).all()
    return used([*told, *(Use(project(run), untold(session, run.id, now), now) for run in holding)], now)
