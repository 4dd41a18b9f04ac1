"""The canonical dump: what the database says about the ledger, as lines that are equal exactly when two projections are."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Table, select
from sqlmodel import SQLModel

import hub.tables  # noqa: F401  (every room's tables)
from hub.database import Database

NOT_FACTS = {
    "blob_loan": "what nodes read of an attempt that goes on; it is lent again",
    "ledger_head": "the newest head that a leader committed; it begins again with the log's own",
    "ledger_leader": "which process writes now",
    "member_invitation": "a secret that is open; members are invited again",
    "member_tls_key": "certificates that run out within days; they are issued anew",
    "progress_record": "the course of runs and campaigns, for watchers",
    "rounds_site": "sites register their keys whenever they start",
    "submission_draft": "a submission that was not accepted; it is opened again",
    "submission_finding": "what screening said to the submitter",
    "submission_screening": "how often a member had something screened today",
    "submission_uploaded": "what an open submission counts on: files that were shown, or may be read",
    "training_holding": "what runs hold that no entry tells yet; it is counted again from the next attempt on",
    "training_attempt": "where the work on a run stands; it is taken up again from the last checkpoint",
}
"""Tables that no ledger entry writes, and why that does no harm. Every other table follows from ledger and blobs alone."""


def projected_tables() -> list[Table]:
    """The tables that projections write, by name."""
    return [table for name, table in sorted(SQLModel.metadata.tables.items()) if name not in NOT_FACTS]


def dump(database: Database) -> Iterator[bytes]:
    """JSON lines `{"row": ..., "table": ...}`, sorted within each table, the same on SQLite and PostgreSQL."""
    with database.session() as session:
        for table in projected_tables():
            rows = session.connection().execute(select(table)).mappings()
            yield from sorted(_line(table.name, dict(row)) for row in rows)


def _line(table: str, row: dict[str, Any]) -> bytes:
    text = json.dumps({"row": row, "table": table}, sort_keys=True, ensure_ascii=False, default=_bytes_as_text)
    return text.encode() + b"\n"


def _bytes_as_text(value: object) -> str:
    if not isinstance(value, bytes | memoryview):
        raise TypeError(f"a column of type {type(value).__name__} cannot be dumped")
    return base64.b64encode(bytes(value)).decode()
