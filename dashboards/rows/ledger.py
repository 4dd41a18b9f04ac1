"""The ledger, a page of entries at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.rows.formats import moment
from protos.coalition.v1 import ledger_pb2

PAGE = 500
"""Entries shown at once."""


def pages(size: int) -> int:
    """How many pages a ledger of `size` entries has; at least one."""
    return max(1, -(-size // PAGE))


def bounds(size: int, page: int) -> tuple[int, int]:
    """First entry and number of entries of a page; page 1 holds the newest, the last page may be short."""
    stop = size - (page - 1) * PAGE
    start = max(0, stop - PAGE)
    return start, max(0, stop - start)


def entry_rows(entries: Sequence[ledger_pb2.LedgerEntry]) -> list[dict[str, Any]]:
    """Newest first."""
    return [
        {
            "entry": entry.index,
            "kind": entry.kind,
            "records": entry.id,
            "signed by": entry.signer,
            "time": moment(entry.time),
            "payload": entry.payload,
            "envelope": entry.envelope,
        }
        for entry in sorted(entries, key=lambda entry: -entry.index)
    ]
