"""A suite's files as bytes: `suite.json`, and the rows that it names. Bounded and closed, for whoever reads one."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from protos.documents.suite import SuiteFormat, Task, check_row
from trust.canonical import parse
from trust.errors import Invalid

MAX_LINE = 4 << 20
MAX_SUITE_JSON = 1 << 20
MAX_SUITE = 256 << 20


def read_suite(files: Mapping[str, bytes]) -> SuiteFormat:
    """`suite.json`, and that what it names is there. Raises `Invalid`."""
    if sum(map(len, files.values())) > MAX_SUITE:
        raise Invalid(f"The suite has more than {MAX_SUITE} bytes.", "Make it smaller.")
    if "suite.json" not in files:
        raise Invalid("The suite has no suite.json.")
    suite = SuiteFormat.read(parse(files["suite.json"], max_bytes=MAX_SUITE_JSON))
    if missing := {task.data for task in suite.tasks} - files.keys():
        raise Invalid(f"suite.json names {min(missing)}, which is not among the files.")
    return suite


def task_rows(task: Task, data: bytes) -> list[dict[str, Any]]:
    """The rows of a task, each checked. Raises `Invalid` naming file and line, or when there are none."""
    rows = []
    for number, row in _json_lines(io.BytesIO(data), task.data):
        try:
            check_row(task, row)
        except Invalid as problem:
            raise Invalid(f"{task.data}, line {number}: {problem.what}", problem.todo) from None
        rows.append(row)
    if not rows:
        raise Invalid(f"The task {task.name} has no items.")
    return rows


def _json_lines(file: IO[bytes], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), start=1):
        if len(line) > MAX_LINE:
            raise Invalid(f"{name}, line {number}: longer than {MAX_LINE} bytes.")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise Invalid(f"{name}, line {number}: not JSON.") from None
        if not isinstance(row, dict):
            raise Invalid(f"{name}, line {number}: not a JSON object.")
        yield number, row
