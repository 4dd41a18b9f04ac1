"""What came out of the sandbox, believed as far as it fits: closed schemas, every item once, and scores that we compute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from hub.evaluation.messages import Conclusion
from learning.scoring import score
from protos.documents.evaluations import Sample, TaskScore
from protos.documents.suite import SuiteFormat
from trust.canonical import parse
from trust.errors import Corrupt, Invalid, Problem

MAX_LINE = 1 << 20


@dataclass(frozen=True)
class Evaluated:
    """Scores with the per-item log that they follow from, or why there are none; `seconds` by our clock, not the sandbox's."""

    scores: tuple[TaskScore, ...]
    log: bytes
    failure: str
    seconds: float = 0.0


def read(lines: bytes, suite: SuiteFormat, items: Mapping[str, int]) -> Evaluated:
    """`items` is how many each task has.

    Raises `Corrupt` for anything but a log of just these items, in order.
    """
    *logged, last = lines.splitlines(keepends=True) or [b""]
    try:
        end = Conclusion.read(parse(last, max_bytes=MAX_LINE))
        if end.failure:
            return Evaluated((), b"", end.failure)
        samples = [Sample.read(parse(line, max_bytes=MAX_LINE)) for line in logged]
        scores = scores_of(suite, samples)
    except Problem as problem:
        raise Corrupt(f"The sandbox answered what it should not: {problem.what[:300]}") from None
    expected = [(task.name, item) for task in suite.tasks for item in range(items[task.name])]
    if [(sample.task, sample.item) for sample in samples] != expected:
        raise Corrupt("The sandbox answered what it should not: its log is not of the suite's items.")
    log = "".join(sample.model_dump_json(exclude_none=True, exclude_defaults=True) + "\n" for sample in samples)
    return Evaluated(scores, log.encode(), "")


def scores_of(suite: SuiteFormat, samples: list[Sample]) -> tuple[TaskScore, ...]:
    """Each task's score, from its items alone. Raises `Invalid` where they do not fit its metric."""
    by_task: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_task[sample.task].append(sample)
    if unknown := by_task.keys() - {task.name for task in suite.tasks}:
        raise Invalid(f"There is no task {min(unknown)[:40]!r}.")
    found = []
    for task in suite.tasks:
        result = score(task.metric, by_task[task.name])
        found.append(
            TaskScore.read(
                {
                    "task": task.name,
                    "metric": task.metric,
                    "value": result.value,
                    "standard_error": result.standard_error,
                    "items": result.items,
                    "baseline": result.baseline,
                }
            )
        )
    return tuple(found)
