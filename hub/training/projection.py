"""Ledger entries about base runs as rows."""

from __future__ import annotations

from typing import cast

from sqlmodel import Session

from hub.ledger.entries import Entry
from hub.ledger.grants import EVERYONE, NODES, grant
from hub.ledger.journal import Journal
from hub.training import inputs, use
from hub.training.tables import CheckpointRow, RunRow
from protos.documents.runs import Checkpoint, Run, RunEnd, Stop
from protos.documents.statements import Claimed
from trust.errors import Conflict, NotFound

PREFIX = "run-"


def register(journal: Journal) -> None:
    journal.register("run", project=_run, check=_check_run)
    journal.register("stop", project=_stop, check=_check_stop)
    journal.register("checkpoint", project=_checkpoint)
    journal.register("run-end", project=_end, check=_check_end)


def _check_run(session: Session, claimed: Claimed) -> None:
    inputs.check(session, cast(Run, claimed.claim).spec)


def _run(session: Session, entry: Entry) -> None:
    claim = cast(Run, entry.claim)
    session.add(
        RunRow(
            id=entry.id,
            index=entry.index,
            payload=entry.payload,
            name=claim.spec.name,
            spec=claim.spec.model_dump(mode="json"),
            launched_by=claim.signer,
            launched_at=entry.time,
        )
    )


def _check_stop(session: Session, claimed: Claimed) -> None:
    target = cast(Stop, claimed.claim).target
    if not target.startswith(PREFIX):
        return
    row = _existing(session, target)
    if row.outcome:
        raise Conflict(f"{target} is {row.outcome} already.")


def _stop(session: Session, entry: Entry) -> None:
    claim = cast(Stop, entry.claim)
    if claim.target.startswith(PREFIX):
        row = _existing(session, claim.target)
        row.stop = claim.why
        session.add(row)


def _checkpoint(session: Session, entry: Entry) -> None:
    claim = cast(Checkpoint, entry.claim)
    session.merge(
        CheckpointRow(
            run=claim.run,
            step=claim.step,
            attempt=claim.attempt,
            loss=claim.loss,
            weights=claim.weights.digest,
            nodes=list(claim.nodes),
            recorded_at=entry.time,
        )
    )
    use.tell(session, entry, _existing(session, claim.run), claim.rank_seconds)
    grant(session, claim.weights.digest, EVERYONE)
    grant(session, claim.weights.digest, NODES)


def _check_end(session: Session, claimed: Claimed) -> None:
    claim = cast(RunEnd, claimed.claim)
    if _existing(session, claim.run).outcome:
        raise Conflict(f"{claim.run} has ended already.")


def _end(session: Session, entry: Entry) -> None:
    claim = cast(RunEnd, entry.claim)
    row = _existing(session, claim.run)
    row.outcome, row.reason, row.model, row.ended_at = claim.outcome, claim.reason, claim.model or "", entry.time
    session.add(row)
    use.tell(session, entry, row, claim.rank_seconds)
    use.release(session, claim.run)


def _existing(session: Session, run: str) -> RunRow:
    row = session.get(RunRow, run)
    if row is None:
        raise NotFound(f"There is no run {run[:80]!r}.", "See `coalition run list`.")
    return row
