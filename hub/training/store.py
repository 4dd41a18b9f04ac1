"""Runs and their attempts between the database and `states.Work`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from sqlmodel import Session, col, select

from hub.ledger.grants import NODES, lend
from hub.training.states import Copy, Phase, Prepared, Work
from hub.training.tables import AttemptRow, CheckpointRow, RunRow
from protos.documents.runs import RunSpec
from trust.digests import Digest
from trust.errors import NotFound


def get(session: Session, run: str) -> RunRow:
    """Raises `NotFound`."""
    row = session.get(RunRow, run)
    if row is None:
        raise NotFound(f"There is no run {run[:80]!r}.", "See `coalition run list`.")
    return row


def all_runs(session: Session) -> Sequence[RunRow]:
    return session.exec(select(RunRow).order_by(col(RunRow.index))).all()


def unfinished(session: Session) -> Sequence[RunRow]:
    """Runs without a run-end, oldest first."""
    return session.exec(select(RunRow).where(RunRow.outcome == "").order_by(col(RunRow.index))).all()


def checkpoints(session: Session, run: str) -> Sequence[CheckpointRow]:
    query = select(CheckpointRow).where(CheckpointRow.run == run)
    return session.exec(query.order_by(col(CheckpointRow.step))).all()


def attempt(session: Session, run: str) -> AttemptRow | None:
    """The present or last attempt; none before the first, or when the database was rebuilt from the ledger."""
    return session.get(AttemptRow, run)


def load_work(session: Session, run: str) -> Work:
    """The work on a run as it stood when it was last saved, with the newest checkpoint of the ledger."""
    row = attempt(session, run) or AttemptRow(
        run=run, number=0, failures=0, phase="queued", nodes=[], prepared={}, copies=[]
    )
    prepared = Prepared.read(row.prepared) if row.prepared else None
    work = Work(run, cast(Phase, row.phase), row.number, row.failures, tuple(row.nodes), prepared)
    copies = tuple(Copy.read(copy) for copy in row.copies)
    asked = RunSpec.read(get(session, run).spec).placement.ranks
    work = replace(work, ranks=row.ranks or asked, copies=copies)
    found = checkpoints(session, run)
    if not found:
        return work
    newest = max(found, key=lambda checkpoint: (checkpoint.attempt, checkpoint.step))
    work = replace(work, attempt=max(work.attempt, newest.attempt), furthest=max(each.step for each in found))
    if work.nodes and list(work.nodes) != newest.nodes:
        return replace(work, registered=copies[0].step if copies else 0)  # as it began on other nodes
    return replace(work, registered=newest.step, registered_on=tuple(newest.nodes))


def at_work(session: Session) -> set[Digest]:
    """The blobs that nodes made for runs that have not ended, and that these need."""
    found: set[Digest] = set()
    for row in unfinished(session):
        if (made := attempt(session, row.id)) and made.prepared:
            copies = map(Copy.read, made.copies)
            found.update(_made(Prepared.read(made.prepared), copies))
    return found


def _made(prepared: Prepared, copies: Iterable[Copy]) -> set[Digest]:
    files = [*prepared.tokenizer, *prepared.tokens, *(piece for copy in copies for piece in copy.pieces)]
    return {Digest(file.digest) for file in files}


def save_work(session: Session, work: Work) -> None:
    """Remember the attempt; what rank 0 prepared, and what was copied, is for every node to read."""
    if work.prepared:
        for digest in _made(work.prepared, work.copies):
            lend(session, digest, NODES)
    session.merge(
        AttemptRow(
            run=work.run,
            number=work.attempt,
            failures=work.failures,
            phase=work.phase,
            nodes=list(work.nodes),
            prepared=work.prepared.model_dump(mode="json") if work.prepared else {},
            ranks=work.ranks,
            copies=[copy.model_dump(mode="json") for copy in work.copies],
        )
    )
