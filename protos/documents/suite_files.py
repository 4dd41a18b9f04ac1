"""A suite's files as bytes: `suite.json`, and the rows that it names. Bounded and closed, for whoever reads one."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from protos.documents.fields import Row
from protos.documents.suite import SuiteFormat, Task, check_row
from trust.canonical import parse
from trust.errors import Invalid

MAX_LINE = 4 << 20
MAX_SUITE_JSON = 1 << 20
MAX_SUITE = 64 << 20
MAX_ITEMS = 100_000
"""Of all tasks together; a row that several tasks ask about is an item of each."""


def check_size(size: int) -> None:
    """That a suite of so many bytes is taken. Raises `Invalid`."""
    if size > MAX_SUITE:
        raise Invalid(
            f"The suite has {size} bytes; {MAX_SUITE} are allowed.", "Make it smaller, or several suites of it."
        )


def check_items(items: int) -> None:
    """That a suite of at least so many items is taken. Raises `Invalid`."""
    if items > MAX_ITEMS:
        raise Invalid(f"The suite has more than {MAX_ITEMS} items.", "Make it smaller, or several suites of it.")


def read_suite(files: Mapping[str, bytes]) -> SuiteFormat:
    """`suite.json`, and that what it names is there. Raises `Invalid`."""
    check_size(sum(map(len, files.values())))
    if "suite.json" not in files:
        raise Invalid("The suite has no suite.json.")
    suite = read_form(files["suite.json"])
    if missing := {task.data for task in suite.tasks} - files.keys():
        raise Invalid(f"suite.json names {min(missing)}, which is not among the files.")
    return suite


def read_form(text: bytes) -> SuiteFormat:
    """`suite.json` alone. Raises `Invalid`."""
    return SuiteFormat.read(parse(text, max_bytes=MAX_SUITE_JSON))


def all_rows(suite: SuiteFormat, opened: Callable[[str], IO[bytes]]) -> Iterator[tuple[str, Row]]:
    """(file, row) of every row, checked for each task that asks about it. A file is read once, and memory holds one row.

    Raises `Invalid` naming file and line, for a task without items, and for more than `MAX_ITEMS` of them.
    """
    tasks: dict[str, list[Task]] = defaultdict(list)
    for task in suite.tasks:
        tasks[task.data].append(task)
    items = 0
    for name, asking in tasks.items():
        before = items
        with opened(name) as file:
            for number, row in _json_lines(file, name):
                for task in asking:
                    _check(task, row, number)
                items += len(asking)
                if items > MAX_ITEMS:
                    raise Invalid(
                        f"The suite has more than {MAX_ITEMS} items.", "Make it smaller, or several suites of it."
                    )
                yield name, row
        if items == before:
            raise Invalid(f"The task {asking[0].name} has no items.")


def count_items(suite: SuiteFormat, files: Mapping[str, bytes]) -> dict[str, int]:
    """How many items each task has. Raises as `all_rows`."""
    found = Counter(name for name, _ in all_rows(suite, lambda name: io.BytesIO(files[name])))
    return {task.name: found[task.data] for task in suite.tasks}


def rows_by_task(suite: SuiteFormat, files: Mapping[str, bytes]) -> dict[str, list[Row]]:
    """The rows of each task; tasks that share a file share them. Raises as `all_rows`."""
    found: dict[str, list[Row]] = defaultdict(list)
    for name, row in all_rows(suite, lambda name: io.BytesIO(files[name])):
        found[name].append(row)
    return {task.name: found[task.data] for task in suite.tasks}


def task_rows(task: Task, data: bytes) -> list[dict[str, Any]]:
    """The rows of a task, each checked. Raises `Invalid` naming file and line, or when there are none."""
    rows = []
    for number, row in _json_lines(io.BytesIO(data), task.data):
        _check(task, row, number)
        rows.append(row)
    if not rows:
        raise Invalid(f"The task {task.name} has no items.")
    return rows


def _check(task: Task, row: Row, number: int) -> None:
    try:
        check_row(task, row)
    except Invalid as problem:
        raise Invalid(f"{task.data}, line {number}: {problem.what}", problem.todo) from None


def _json_lines(file: IO[bytes], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Empty lines may stand at the end alone."""
    empty = 0
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), start=1):
        if len(line) > MAX_LINE:
            raise Invalid(f"{name}, line {number}: longer than {MAX_LINE} bytes.")
        if not line.strip():
            empty = empty or number
            continue
        if empty:
            raise Invalid(f"{name}, line {empty}: the line is empty.")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise Invalid(f"{name}, line {number}: not JSON.") from None
        if not isinstance(row, dict):
            raise Invalid(f"{name}, line {number}: not a JSON object.")
        yield number, row
