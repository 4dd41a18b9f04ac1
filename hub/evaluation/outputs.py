"""What came out of the sandbox, believed as far as it fits: closed schemas, every item once, and scores that we compute."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import IO

from hub.evaluation.messages import Conclusion
from hub.evaluation.reasons import BROKEN
from learning.scoring import score
from protos.documents.evaluations import Sample, TaskScore
from protos.documents.suite import SuiteFormat
from protos.documents.suite_files import count_items, read_suite
from trust.canonical import parse
from trust.errors import Corrupt, Invalid, Problem

MAX_LINE = 1 << 20


@dataclass(frozen=True)
class Evaluated:
    """Scores with the per-item log that they follow from, or why there are none; `seconds` by our clock, not the sandbox's.

    `same_as` is the evaluation that they were taken from, if any; `node` who computed, where it was not the hub.
    """

    scores: tuple[TaskScore, ...]
    log: bytes
    failure: str
    seconds: float = 0.0
    same_as: str | None = None
    node: str | None = None


def believe(lines: bytes, files: Mapping[str, bytes]) -> Evaluated:
    """Raises `Corrupt` for an output that is not of these files. A suite that breaks its own rules has failed."""
    try:
        suite = read_suite(files)
        items = count_items(suite, files)
    except Invalid as problem:
        return Evaluated((), b"", f"{BROKEN}: {problem.what}")
    return read(lines, suite, items)


def read(lines: bytes, suite: SuiteFormat, items: Mapping[str, int]) -> Evaluated:
    """`items` is how many each task has.

    Raises `Corrupt` for anything but a log of just these items, in order.
    """
    start = lines.rfind(b"\n", 0, max(0, len(lines) - 1)) + 1  # of the last line
    log = io.BytesIO()
    try:
        end = Conclusion.read(parse(lines[start:], max_bytes=MAX_LINE))
        if end.failure:
            return Evaluated((), b"", end.failure)
        expected = ((task.name, item) for task in suite.tasks for item in range(items[task.name]))
        samples = _just(expected, _samples(lines, start))
        scores = scores_of(suite, _logged(samples, log))
    except Corrupt:
        raise
    except Problem as problem:
        raise Corrupt(f"The sandbox answered what it should not: {problem.what[:300]}") from None
    return Evaluated(scores, log.getvalue(), "")


def scores_of(suite: SuiteFormat, samples: Iterable[Sample]) -> tuple[TaskScore, ...]:
    """Each task's score, from its items alone, which come in the order of the tasks; one is in memory at a time.

    Raises `Invalid` where they do not fit the suite and its metrics.
    """
    groups = groupby(samples, attrgetter("task"))
    found = []
    for task in suite.tasks:
        name, own = next(groups, ("", iter(())))
        if name != task.name:
            raise Invalid(f"The items of {task.name} do not stand where they should.")
        result = score(task.metric, own)
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
    if more := next(groups, None):
        raise Invalid(f"There is no task {more[0][:40]!r}, or not twice.")
    return tuple(found)


def _samples(lines: bytes, end: int) -> Iterator[Sample]:
    file = io.BytesIO(lines)
    while file.tell() < end:
        yield Sample.read(parse(file.readline(), max_bytes=MAX_LINE))


def _just(expected: Iterable[tuple[str, int]], samples: Iterable[Sample]) -> Iterator[Sample]:
    """Raises `Corrupt` where the samples are not just the expected items in their order."""
    for item, sample in zip_longest(expected, samples):
        if sample is None or (sample.task, sample.item) != item:
            raise Corrupt("The sandbox answered what it should not: its log is not of the suite's items.")
        yield sample


def _logged(samples: Iterable[Sample], log: IO[bytes]) -> Iterator[Sample]:
    for sample in samples:
        log.write(sample.model_dump_json(exclude_none=True, exclude_defaults=True).encode() + b"\n")
        yield sample
