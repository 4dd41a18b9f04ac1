"""Who comes first: a job's own priority, its project's fair share, and how long it has waited.

After Slurm's multifactor priority plugin: the share of a project is 2 ** -(used / entitled), with the use of accelerators
halved every `HALF_LIFE`. Waiting counts without bound, so a job of any priority comes to the head of the queue at last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hub.training.placement.values import Job

HALF_LIFE = 7 * 86_400.0
"""Seconds after which the use of accelerators counts half."""
AGEING = 86_400.0
"""Seconds of waiting that weigh as much as one step of priority."""


@dataclass(frozen=True)
class Use:
    """Slot-seconds of a project, that count as if they had all been used at the moment `at`."""

    project: str
    amount: float
    at: float


@dataclass(frozen=True)
class Usage:
    """Slot-seconds by project, decayed up to the moment `at`."""

    amounts: Mapping[str, float] = field(default_factory=dict)
    at: float = 0.0

    def later(self, rates: Mapping[str, int], now: float) -> Usage:
        """Up to `now`, projects having held so many slots since."""
        passed = max(0.0, now - self.at)
        kept = 0.5 ** (passed / HALF_LIFE)
        names = self.amounts.keys() | rates.keys()
        return Usage({n: self.amounts.get(n, 0.0) * kept + rates.get(n, 0) * passed for n in names}, max(now, self.at))


def used(uses: Iterable[Use], now: float) -> Usage:
    """What was used so far, the older the less; the order does not matter."""
    amounts: dict[str, float] = {}
    for use in uses:
        kept = 0.5 ** (max(0.0, now - use.at) / HALF_LIFE)
        amounts[use.project] = amounts.get(use.project, 0.0) + use.amount * kept
    return Usage(amounts, now)


def shares(usage: Usage, projects: Iterable[str]) -> dict[str, float]:
    """For each project between 0 (it has had far too much) and 1 (nothing yet); all are entitled to the same.

    Entitled are those that wait or have used something lately.
    """
    projects = set(projects)
    entitled = projects | {name for name, amount in usage.amounts.items() if amount > 0}
    total = sum(usage.amounts.values())
    if not total:
        return dict.fromkeys(projects, 1.0)
    return {name: 2.0 ** (-usage.amounts.get(name, 0.0) / total * len(entitled)) for name in projects}


def in_order(jobs: Iterable[Job], shares: Mapping[str, float], now: float) -> list[Job]:
    """The most urgent first."""

    def urgency(job: Job) -> float:
        return job.priority + shares.get(job.project, 1.0) + max(0.0, now - job.submitted) / AGEING

    return sorted(jobs, key=lambda job: (-urgency(job), job.submitted, job.name))
