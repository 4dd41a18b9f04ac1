"""Suites as screening reads them: against the closed schema, and as the texts of their items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hub.submissions.screening.contamination import Grams, grams_of
from hub.submissions.screening.datasets import licence_findings
from hub.submissions.screening.findings import Finding
from protos.documents.suite_files import read_suite, task_rows
from trust.errors import Invalid, Problem


def screen_suite(licence: str, files: Mapping[str, bytes]) -> list[Finding]:
    """What the suite's own files tell; the overlap with datasets is looked for apart."""
    findings = list(licence_findings(licence))
    try:
        suite = read_suite(files)
        items = sum(len(task_rows(task, files[task.data])) for task in suite.tasks)
        if suite.licence != licence:
            raise Invalid(f"suite.json says {suite.licence} and the manifest {licence}.", field="licence")
    except Problem as problem:
        return [*findings, Finding(rule="schema", severity="reject", message=problem.diagnostics())]
    message = f"{len(suite.tasks)} tasks with {items} items read."
    return [*findings, Finding(rule="schema", severity="info", message=message, count=items, total=items)]


def suite_grams(files: Mapping[str, bytes]) -> Grams:
    """The runs of words of a suite's items, as hashes."""
    suite = read_suite(files)
    return grams_of(tuple(strings(row)) for task in suite.tasks for row in task_rows(task, files[task.data]))


def strings(row: Mapping[str, Any]) -> Iterator[str]:
    """All texts of a suite's row: prompts' fields and choices."""
    for value in row.values():
        values: Sequence[Any] = value if isinstance(value, list) else [value]
        yield from (item for item in values if isinstance(item, str))
