"""Screening a dataset: batches are examined two at a time, added up in order, and told as findings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from hub.submissions.screening.batches import Place, batches
from hub.submissions.screening.contamination import Grams, Overlap
from hub.submissions.screening.course import Course, Part, examine
from hub.submissions.screening.duplicates import repeated
from hub.submissions.screening.findings import Finding, Severity, about, share
from hub.submissions.screening.index import Index
from hub.submissions.screening.jobs import DatasetJob, SuiteGrams, SuiteJob
from hub.submissions.screening.notes import Notes
from hub.submissions.screening.pii import LIKELY, SECRETS
from hub.submissions.screening.quality import MEASURES
from hub.submissions.screening.segments import write_keys
from trust.errors import Invalid, Problem

THREADS = 2
KEEP_EVERY = 64 << 20  # bytes of text between checkpoints
KEYS = "keys"  # in `job.folder`: what the index takes in when the dataset is accepted
_SOME, _MOST = 0.1, 0.5

Advance = Callable[[int], None]
"""Called with the number of rows screened so far."""


def screen_dataset(job: DatasetJob, advance: Advance = lambda rows: None) -> list[Finding]:
    """All findings about a dataset. Goes on from the last checkpoint in `job.folder`, where its keys for the index stay."""
    findings = list(licence_findings(job.licence))
    overlaps = {suite.id: Overlap(_grams(suite)) for suite in job.suites}
    course = Course.resume(Path(job.folder), overlaps)
    try:
        _run(job, course, advance)
    except Problem as problem:
        return [*findings, Finding(rule="schema", severity="reject", message=problem.diagnostics())]
    rows = course.rows
    findings.append(
        Finding(
            rule="schema", severity="info", message=f"{rows} rows read, each with its text.", count=rows, total=rows
        )
    )
    findings += [*_language(course), *_duplicates(course), *_accepted_before(job, course), *_phrases(course)]
    findings += [*_personal(job, course), *_quality(course), *_contamination(job, course)]
    write_keys(course.fingerprints(), Path(job.folder) / KEYS)
    return findings


def _run(job: DatasetJob, course: Course, advance: Advance) -> None:
    _catch_up(job, course, advance)
    kept = course.size
    with ThreadPoolExecutor(THREADS) as pool:
        for part, place in _examined(pool, job, course):
            course.add(part, place)
            advance(course.rows)
            if course.size - kept >= KEEP_EVERY:
                course.keep()
                kept = course.size
    if course.rows != job.rows:
        raise Invalid(f"The shards hold {course.rows} rows and the manifest says {job.rows}.")


def _catch_up(job: DatasetJob, course: Course, advance: Advance) -> None:
    """Look in the rows so far for the suites that came after the course was kept."""
    if not course.rows or not course.late:
        return
    for batch, place in batches(job.files):
        for overlap in course.late:
            overlap.remember(overlap.look(batch), batch.first)
        advance(course.rows)
        if place == course.place:
            return


def _examined(pool: ThreadPoolExecutor, job: DatasetJob, course: Course) -> Iterator[tuple[Part, Place]]:
    """Parts in order; while one is taken in, the next ones are examined: numpy and RE2 leave the interpreter to others."""
    waiting: deque[tuple[Future[Part], Place]] = deque()
    for batch, place in batches(job.files, course.place):
        waiting.append((pool.submit(examine, batch, list(course.overlaps.values())), place))
        if len(waiting) > THREADS:
            future, place = waiting.popleft()
            yield future.result(), place
    for future, place in waiting:
        yield future.result(), place


def look_for_suite(job: SuiteJob, advance: Advance = lambda rows: None) -> list[Finding]:
    """How much of a new suite stands in what was accepted before; each dataset that may be told of is named, coarsely.

    What was found is noted in `job.folder`: after a crash, or when more was accepted meanwhile, only the rest is looked at.
    """
    grams, notes, done = _grams(job.grams), Notes(Path(job.folder)), 0
    findings = []
    for dataset in job.datasets:
        if dataset.id not in notes.told:
            overlap, rows = Overlap(grams), 0
            for batch, _ in batches(dataset.files):
                overlap.remember(overlap.look(batch), batch.first)
                rows, done = rows + len(batch), done + len(batch)
                advance(done)
            notes.add(dataset.id, overlap.sentence(dataset.id, readable=dataset.readable))
        if message := notes.told[dataset.id]:
            findings.append(Finding(rule="contamination", severity="warning", message=message))
    if not findings:
        message = f"No overlap to tell of with {_any_of(len(job.datasets), 'accepted dataset')}."
        findings.append(Finding(rule="contamination", severity="info", message=message))
    return findings


def _any_of(count: int, what: str) -> str:
    """As it stands after a preposition: nothing was compared with where there is none."""
    if count < 2:
        return f"the one {what}" if count else f"any {what}: there is none yet"
    return f"any of {count} {what}s"


def _grams(suite: SuiteGrams) -> Grams:
    return Grams.load(Path(suite.path), bytes.fromhex(suite.key))


def licence_findings(expression: str) -> Iterator[Finding]:
    try:
        canonicalize_license_expression(expression)
    except InvalidLicenseExpression:
        message = f"{expression!r} is not an SPDX licence expression; see spdx.org/licenses."
        yield Finding(rule="licence", severity="reject", message=message)


def _language(course: Course) -> Iterator[Finding]:
    asked = course.languages.total()
    if not asked:
        yield Finding(rule="language", severity="info", message="No row is long enough to tell its language.")
        return
    parts = ", ".join(f"{code} {100 * count / asked:.0f} %" for code, count in course.languages.most_common(5))
    message = f"Of {asked} rows that were sampled: {parts}."
    yield Finding(rule="language", severity="info", message=message, total=asked)


def _duplicates(course: Course) -> Iterator[Finding]:
    exact, near = repeated(course.fingerprints())
    rows = course.rows
    for rule, marks, how in (("duplicates", exact, "repeat"), ("near-duplicates", near, "nearly repeat")):
        if count := int(marks.sum()):
            severity: Severity = "reject" if rule == "duplicates" and count > rows // 2 else "warning"
            yield Finding(
                rule=rule,
                severity=severity,
                message=f"{count} of {rows} rows {how} an earlier one.",
                count=count,
                total=rows,
                examples=tuple(f"row {row + 1}" for row in marks.nonzero()[0][:5].tolist()),
            )


def _accepted_before(job: DatasetJob, course: Course) -> Iterator[Finding]:
    seen = Index(Path(job.index)).look(course.fingerprints(), job.own, job.others)
    if count := int(seen.own.sum()):
        message = f"{count} of {course.rows} rows stand, equal or nearly so, in your earlier datasets."
        yield Finding(rule="duplicates-accepted", severity="warning", message=message, count=count, total=course.rows)
    if count := int(seen.others.sum()):
        some = f"{about(count).capitalize()} rows ({share(count, course.rows)})"
        message = f"{some} stand, equal or nearly so, in others' datasets."
        yield Finding(rule="duplicates-accepted", severity="warning", message=message, total=course.rows)


def _phrases(course: Course) -> Iterator[Finding]:
    if finding := course.phrases.finding():
        yield finding


def _personal(job: DatasetJob, course: Course) -> Iterator[Finding]:
    for kind, count in sorted(course.values.items()):
        certain = kind in SECRETS or kind == "credential"
        rows = course.holders[kind]
        yield Finding(
            rule="secrets" if certain or kind in LIKELY else "personal-data",
            severity=job.policy.secrets if certain else job.policy.personal_data,
            message=f"{rows} of {course.rows} rows hold what looks like: {kind} ({count} in all).",
            count=rows,
            total=course.rows,
            examples=tuple(course.examples.get(kind, ())),
        )


def _quality(course: Course) -> Iterator[Finding]:
    rows = course.rows
    for measure, meaning in MEASURES.items():
        count = course.outside[measure]
        if count >= max(1, _SOME * rows):
            severity: Severity = "warning" if count > _MOST * rows else "info"
            message = f"{count} of {rows} rows: {meaning} ({measure})."
            yield Finding(rule="quality", severity=severity, message=message, count=count, total=rows)


def _contamination(job: DatasetJob, course: Course) -> Iterator[Finding]:
    found = [
        overlap.finding(suite.suite, course.rows, job.policy.contamination, readable=suite.readable)
        for suite, overlap in zip(job.suites, course.overlaps.values(), strict=True)
    ]
    yield from (finding for finding in found if finding)
    if not any(found):
        message = f"No overlap to tell of with {_any_of(len(job.suites), 'evaluation suite')}."
        if short := sum(overlap.grams.too_short() for overlap in course.overlaps.values()):
            message += f" {short} of their items are too short to be looked for."
        yield Finding(rule="contamination", severity="info", message=message)
