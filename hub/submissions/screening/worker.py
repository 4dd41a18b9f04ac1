"""The screening process: jobs as JSON lines in, progress and findings as JSON lines out.

`python -m hub.submissions.screening.worker`. It gets paths and hashes, no key of the hub's, no database, no credentials.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from hub.guard import keep_secrets
from hub.submissions.screening import suites
from hub.submissions.screening.datasets import Advance, look_for_suite, screen_dataset
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.jobs import DatasetJob, Job, SuiteJob, SuiteReading
from trust.errors import Problem

EVERY = 0.2  # seconds between two words about progress
_JOBS: dict[str, type[DatasetJob] | type[SuiteReading] | type[SuiteJob]] = {
    "dataset": DatasetJob,
    "reading": SuiteReading,
    "suite": SuiteJob,
}


def screen(job: Job, advance: Advance, payload: BinaryIO = sys.stdin.buffer) -> list[Finding]:
    """Do a job of any kind; of a suite to be read, the bytes come from `payload`."""
    match job:
        case DatasetJob():
            return screen_dataset(job, advance)
        case SuiteJob():
            return look_for_suite(job, advance)
    return suites.read(job, {file.name: payload.read(file.size) for file in job.files}, advance)


def read_job(line: str | bytes) -> Job:
    value = json.loads(line)
    return _JOBS[value["kind"]].read(value)


def judged(job: Job, advance: Advance) -> list[Finding]:
    """As `screen`. What makes our own code fail is refused as well: who is told nothing would commit it again and again.

    Raises `Problem`, and `OSError` or `MemoryError` where it is this machine that failed.
    """
    try:
        return screen(job, advance)
    except (Problem, OSError, MemoryError):
        raise
    except Exception:
        traceback.print_exc()
        return [Finding(rule="schema", severity="reject", message="It holds something that screening cannot read.")]


def _main() -> None:
    keep_secrets()
    for line in iter(sys.stdin.buffer.readline, b""):
        try:
            findings = judged(read_job(line), _told(_say))
            _say({"findings": [finding.model_dump(mode="json") for finding in findings]})
        except Problem as problem:
            _say({"problem": problem.diagnostics()})


def _told(say: Callable[[dict[str, Any]], None]) -> Advance:
    last = 0.0

    def advance(rows: int) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            say({"rows": rows})

    return advance


def _say(word: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
