"""Suites as screening reads them, in a process of its own: against the closed schema, and as the texts of their items."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hub.submissions.screening.contamination import SHORT, grams_of
from hub.submissions.screening.datasets import Advance, licence_findings
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.jobs import SuiteReading
from protos.documents.fields import Row
from protos.documents.suite import (
    Generation,
    LogLikelihood,
    MultipleChoice,
    Perplexity,
    SuiteFormat,
    Task,
    fill,
    placeholders,
)
from protos.documents.suite_files import all_rows, read_suite
from trust.errors import Invalid, Problem


def read(job: SuiteReading, files: Mapping[str, bytes], advance: Advance = lambda rows: None) -> list[Finding]:
    """What the suite's own files tell; the runs of words of its items are left where `job.grams` says, as hashes.

    The overlap with datasets is looked for apart.
    """
    findings = list(licence_findings(job.licence))
    try:
        suite = read_suite(files)
        if suite.licence != job.licence:
            raise Invalid(f"suite.json says {suite.licence} and the manifest {job.licence}.", field="licence")
        grams = grams_of(_items(suite, lambda name: io.BytesIO(files[name]), advance))
    except Problem as problem:
        return [*findings, Finding(rule="schema", severity="reject", message=problem.diagnostics())]
    temporary = Path(f"{job.grams.path}.{os.getpid()}.tmp")
    grams.save(temporary, bytes.fromhex(job.grams.key))
    temporary.rename(job.grams.path)
    message = f"{len(suite.tasks)} tasks with {grams.total} rows read."
    return [*findings, Finding(rule="schema", severity="info", message=message, count=grams.total, total=grams.total)]


def _items(suite: SuiteFormat, opened: Callable[[str], io.BytesIO], advance: Advance) -> Iterator[list[str]]:
    """The texts of each row. A short item would be looked for nowhere: it is also taken as a text would hold it."""
    asking: dict[str, list[Task]] = defaultdict(list)
    for task in suite.tasks:
        asking[task.data].append(task)
    for number, (name, row) in enumerate(all_rows(suite, opened), start=1):
        texts = list(strings(row))
        if all(len(text.split()) < SHORT for text in texts):
            texts += dict.fromkeys(text for task in asking[name] for text in whole(task, row))
        yield texts
        advance(number)


def strings(row: Mapping[str, Any]) -> Iterator[str]:
    """All texts of a suite's row: prompts' fields and choices."""
    for value in row.values():
        values: Sequence[Any] = value if isinstance(value, list) else [value]
        yield from (item for item in values if isinstance(item, str))


def whole(task: Task, row: Row) -> Iterator[str]:
    """An item as one text: the prompt, with the template's own words and without them, and the right answer after it."""
    if isinstance(task, Perplexity):
        return
    answer = _answer(task, row)
    yield f"{fill(task.prompt, row)} {answer}"
    yield " ".join([*(row[name] for name in placeholders(task.prompt)), answer])


def _answer(task: MultipleChoice | LogLikelihood | Generation, row: Row) -> str:
    """Empty where a check needs none."""
    if isinstance(task, MultipleChoice):
        return str(row[task.choices][row[task.answer]])
    name = task.target if isinstance(task, LogLikelihood) else getattr(task.check, "target", None)
    value = row[name] if name else ""
    return str(value[0] if isinstance(value, list) else value)
