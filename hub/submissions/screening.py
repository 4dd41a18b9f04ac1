"""What a submission must stand before it is recorded: pure functions from files to findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from protos.documents.base import FileEntry
from protos.documents.submissions import Dataset
from protos.documents.suite import SuiteFormat, check_row
from protos.formats import jsonl
from protos.formats.texts import text_rows
from trust.canonical import parse
from trust.errors import Invalid, Problem

MAX_SUITE_JSON = 1 << 20
PASSAGE = 80  # characters; shorter paragraphs are too common to tell anything
_SPACE = re.compile(r"\s+")

Severity = Literal["info", "warning", "reject"]


@dataclass(frozen=True)
class Finding:
    """One result: the rule, how bad it is, and a sentence."""

    rule: str
    severity: Severity
    message: str


def rejected(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "reject"]


def screen_dataset(manifest: Dataset, files: Mapping[str, Path], suites: frozenset[bytes]) -> list[Finding]:
    """`files` maps the manifest's paths to their bytes on disk; `suites` holds the passages of every accepted suite."""
    findings = [*_licence(manifest.licence)]
    seen: set[bytes] = set()
    rows = twice = leaked = 0
    try:
        for entry in manifest.files:
            if not entry.rows:
                continue
            count = 0
            for _, row in text_rows(files[entry.path], entry.path):
                count, text = count + 1, row["text"]
                fingerprint = _hash(_normal(text))
                twice += fingerprint in seen
                seen.add(fingerprint)
                leaked += not suites.isdisjoint(passages(text))
            if count != entry.rows:
                raise Invalid(f"{entry.path} has {count} rows and the manifest says {entry.rows}.")
            rows += count
        if rows != manifest.rows:
            raise Invalid(f"The shards hold {rows} rows and the manifest says {manifest.rows}.")
    except Problem as problem:
        return [*findings, Finding("schema", "reject", problem.diagnostics())]
    findings.append(Finding("schema", "info", f"{rows} rows read, each with its text."))
    if twice:
        severity: Severity = "reject" if twice > rows // 2 else "warning"
        findings.append(Finding("duplicates", severity, f"{twice} of {rows} rows repeat an earlier one."))
    findings.append(_overlap(leaked, rows, "rows hold a passage of an evaluation suite"))
    return findings


def screen_suite(
    licence: str, files: Mapping[str, Path], datasets: frozenset[bytes]
) -> tuple[list[Finding], list[str]]:
    """Findings and the names of the tasks; `datasets` holds the passages of every accepted dataset."""
    findings = [*_licence(licence)]
    try:
        suite = read_suite(files)
        rows = [(task, row) for task in suite.tasks for row in suite_rows(task, files[task.data])]
        if suite.licence != licence:
            raise Invalid(f"suite.json says {suite.licence} and the manifest {licence}.", field="licence")
    except Problem as problem:
        return [*findings, Finding("schema", "reject", problem.diagnostics())], []
    findings.append(Finding("schema", "info", f"{len(suite.tasks)} tasks with {len(rows)} items read."))
    leaked = sum(not datasets.isdisjoint(passages(text)) for _, row in rows for text in strings(row))
    findings.append(_overlap(leaked, len(rows), "items hold a passage of a submitted dataset"))
    return findings, [task.name for task in suite.tasks]


def read_suite(files: Mapping[str, Path]) -> SuiteFormat:
    """`suite.json`, and that it names exactly the files that came. Raises `Invalid`."""
    if "suite.json" not in files:
        raise Invalid("The suite has no suite.json.")
    suite = SuiteFormat.read(parse(files["suite.json"].read_bytes(), max_bytes=MAX_SUITE_JSON))
    named = {task.data for task in suite.tasks}
    if missing := named - files.keys():
        raise Invalid(f"suite.json names {min(missing)}, which is not among the files.")
    return suite


def suite_rows(task: Any, path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a task's data, each checked against the task. Raises `Invalid` naming file and line."""
    for place, row in jsonl.rows(path, task.data):
        try:
            check_row(task, row)
        except Invalid as problem:
            raise Invalid(f"{place}: {problem.what}", problem.todo) from None
        yield row


def dataset_texts(files: Iterable[tuple[FileEntry, Path]]) -> Iterator[str]:
    """The texts of shards that were accepted before."""
    for entry, path in files:
        yield from (row["text"] for _, row in text_rows(path, entry.path))


def passages(text: str) -> set[bytes]:
    """Fingerprints of a text's paragraphs of at least `PASSAGE` characters, blind to case and white space."""
    parts = (_normal(part) for part in text.split("\n\n"))
    return {_hash(part) for part in parts if len(part) >= PASSAGE}


def _licence(expression: str) -> Iterator[Finding]:
    try:
        canonicalize_license_expression(expression)
    except InvalidLicenseExpression:
        yield Finding("licence", "reject", f"{expression!r} is not an SPDX licence expression; see spdx.org/licenses.")


def _overlap(count: int, total: int, what: str) -> Finding:
    severity: Severity = "warning" if count else "info"
    return Finding("contamination", severity, f"{count} of {total} {what}.")


def strings(row: Mapping[str, Any]) -> Iterator[str]:
    """All texts of a suite's row: prompts' fields and choices."""
    for value in row.values():
        values: Sequence[Any] = value if isinstance(value, list) else [value]
        yield from (item for item in values if isinstance(item, str))


def _normal(text: str) -> str:
    return _SPACE.sub(" ", text).strip().casefold()


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=12).digest()
