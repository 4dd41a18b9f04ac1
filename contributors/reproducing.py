"""An evaluation computed again here, item by item beside what was recorded.

On the same class of hardware with the same versions the two logs are the same to the last digit. Elsewhere likelihoods move
in their last digits, and an answer that was nearly another may become that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contributors.calling import Advance
from contributors.client import Coalition
from contributors.recheck import recheck, suite_files
from contributors.rerun import rerun
from learning.scoring import LOWER_IS_BETTER, score, worth
from protos.documents.evaluations import MAX_LOG, Evaluation, Sample, TaskScore, read_log
from trust.errors import Denied, Invalid

TOLERANCE = 0.01
"""Of a score computed again elsewhere: a hundredth of its items, or of its value where it has no bound."""
ROUNDING = 1e-9
EXPLAINED = 0.05, 0.5
"""By other hardware: so large a part of a log likelihood, and so many nats more (bfloat16 keeps 8 bits of a number)."""


@dataclass(frozen=True)
class Again:
    """A task of which `same` items came out exactly as recorded, and `turned` are worth something else.

    `furthest` is the greatest difference of a log likelihood, in nats.
    """

    task: str
    metric: str
    items: int
    same: int
    turned: int
    furthest: float
    recorded: float
    value: float


@dataclass
class Reproduction:
    """`identical`: every item came out as it is recorded, to the last digit."""

    tasks: list[Again]
    identical: bool
    problems: list[str]


def reproduced(hub: Coalition, identifier: str, folder: Path, advance: Advance) -> Reproduction:
    """Evaluate again what the ledger records; the model comes to lie in `folder`, a suite nowhere.

    Raises `NotFound`, `Denied` for a suite that is not for us, `Invalid` for an evaluation that failed, and what `rerun` does.
    """
    found = recheck(hub, identifier)
    if found.claim.failure:
        raise Invalid(f"{identifier} failed, so there is nothing to reproduce: {found.claim.failure}")
    suite = suite_files(hub, found.claim)
    if suite is None:
        raise Denied("The suite may not be read by you, so it cannot be run again here.", "Its owner can.")
    theirs = read_log(hub.blob(str(found.claim.samples), MAX_LOG))
    ours = read_log(rerun(hub, found.claim, suite, folder, advance))
    problems = [*found.problems, *unexplained(theirs, ours)]
    if len(ours) != len(theirs):
        return Reproduction([], False, problems)
    tasks = again(found.claim, theirs, ours)
    problems += [what for task in tasks for what in differing(task)]
    return Reproduction(tasks, theirs == ours, problems)


def differing(task: Again) -> Iterator[str]:
    """Where a score differs by more than other hardware explains."""
    bounded = task.metric not in LOWER_IS_BETTER
    allowed = max(TOLERANCE, 1 / task.items) if bounded else TOLERANCE * abs(task.recorded)
    if abs(task.value - task.recorded) > allowed + ROUNDING:
        yield f"Evaluated again, the {task.metric} of {task.task} is {task.value:.4f}, not {task.recorded:.4f}."


def again(claim: Evaluation, theirs: Sequence[Sample], ours: Sequence[Sample]) -> list[Again]:
    """Every task that was scored. Raises `Invalid` where our items do not fit it."""
    return [
        _again(
            stated, [each for each in theirs if each.task == stated.task], [s for s in ours if s.task == stated.task]
        )
        for stated in claim.scores
    ]


def unexplained(theirs: Sequence[Sample], ours: Sequence[Sample]) -> Iterator[str]:
    """Items that no other hardware explains, the first of each task: another item, or a likelihood far from the recorded one."""
    if [(each.task, each.item) for each in theirs] != [(each.task, each.item) for each in ours]:
        yield "Evaluated again, the log has other items."
        return
    named: set[str] = set()
    for recorded, found in zip(theirs, ours, strict=True):
        if recorded.task not in named and (apart := _too_far(recorded, found)):
            named.add(recorded.task)
            yield f"Evaluated again, item {recorded.item} of {recorded.task} {apart}: other hardware does not explain that."


def _again(stated: TaskScore, theirs: Sequence[Sample], ours: Sequence[Sample]) -> Again:
    pairs = list(zip(theirs, ours, strict=False))
    return Again(
        task=stated.task,
        metric=stated.metric,
        items=stated.items,
        same=sum(a == b for a, b in pairs),
        turned=sum(_turned(stated.metric, a, b) for a, b in pairs),
        furthest=max((_furthest(a, b) for a, b in pairs), default=0.0),
        recorded=stated.value,
        value=score(stated.metric, ours).value,
    )


def _turned(metric: str, recorded: Sample, found: Sample) -> bool:
    """Whether an answer became another; of text, which is only more or less likely, none does."""
    return metric not in LOWER_IS_BETTER and worth(metric, recorded) != worth(metric, found)


def _furthest(recorded: Sample, found: Sample) -> float:
    pairs = zip(recorded.log_likelihoods, found.log_likelihoods, strict=False)
    return max((abs(a - b) for a, b in pairs), default=0.0)


def _too_far(recorded: Sample, found: Sample) -> str:
    """In words; empty where it is not."""
    if (len(recorded.log_likelihoods), recorded.lengths, recorded.answer) != (
        len(found.log_likelihoods),
        found.lengths,
        found.answer,
    ):
        return "is another one"
    part, nats = EXPLAINED
    for a, b in zip(recorded.log_likelihoods, found.log_likelihoods, strict=True):
        if abs(a - b) > part * abs(a) + nats:
            return f"has a log likelihood of {b:.2f}, not {a:.2f}"
    return ""
