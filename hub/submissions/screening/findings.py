"""What screening says: findings, never the values that were found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from protos.documents.base import Document

Severity = Literal["info", "warning", "reject"]

_BUCKETS = ((9, "fewer than 10"), (99, "10 to 99"), (999, "100 to 999"), (9999, "1,000 to 9,999"))


class Finding(Document):
    """One result: the rule, how bad it is, a sentence; `count` of `total` rows (0 where a rule does not count).

    `examples` are places in the submitter's own data and values with their letters hidden.
    """

    rule: str
    severity: Severity
    message: str
    count: int = 0
    total: int = 0
    examples: tuple[str, ...] = ()


def rejected(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "reject"]


def about(count: int) -> str:
    """A count as coarse as a stranger's data allows: an exact one, asked often enough, spells that data out."""
    if not count:
        return "none"
    return next((words for bound, words in _BUCKETS if count <= bound), "10,000 or more")


def share(count: int, total: int) -> str:
    """A part of the whole in four steps, for the same reason."""
    part = count / max(total, 1)
    return "under 1 %" if part < 0.01 else "1 to 10 %" if part < 0.1 else "10 to 50 %" if part < 0.5 else "over half"
