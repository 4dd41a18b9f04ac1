"""Who takes part and what each contributed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.rows.formats import moment, size
from protos.coalition.v1 import members_pb2, submissions_pb2


def member_rows(members: Sequence[members_pb2.Member]) -> list[dict[str, Any]]:
    """Members by contribution: most data first, then name."""
    ordered = sorted(members, key=lambda member: (-member.data_size, member.organisation))
    return [
        {
            "organisation": member.organisation,
            "role": member.role,
            "datasets": member.datasets,
            "data": size(member.data_size),
            "suites": member.suites,
            "rounds": member.rounds,
            "enrolled": moment(member.enrolled_at),
            "id": member.id,
        }
        for member in ordered
    ]


def submission_rows(submissions: Sequence[submissions_pb2.Submission], member: str | None) -> list[dict[str, Any]]:
    """Datasets and suites of one member or of all, newest first; what was rejected says why."""
    chosen = [item for item in submissions if member in (None, item.member)]
    rows = [
        {
            "name": item.name,
            "kind": item.kind,
            "domain": item.domain,
            "member": item.member,
            "licence": item.licence,
            "category": item.category or None,
            "may be in": ", ".join(item.jurisdiction) or None,
            "state": item.state,
            "rows": item.rows or None,
            "size": size(item.size),
            "recorded": moment(item.recorded_at),
            "id": item.id,
            "rejected because": "; ".join(found.message for found in item.findings if found.severity == "reject"),
        }
        for item in sorted(chosen, key=lambda item: item.recorded_at, reverse=True)
    ]
    return rows if any(row["rejected because"] for row in rows) else [_without_reason(row) for row in rows]


def _without_reason(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "rejected because"}


def data_by_domain(submissions: Sequence[submissions_pb2.Submission]) -> list[dict[str, Any]]:
    """Megabytes of accepted data per domain and member."""
    return [
        {"domain": item.domain, "member": item.member, "megabytes": item.size / 1e6}
        for item in submissions
        if item.kind == "dataset" and item.state == "accepted"
    ]
