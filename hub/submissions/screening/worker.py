"""The screening process: jobs as JSON lines in, progress and findings as JSON lines out.

`python -m hub.submissions.screening.worker`. It gets paths and hashes, no key of the hub's, no database, no credentials.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from hub.guard import keep_secrets
from hub.submissions.screening.datasets import Advance, look_for_suite, screen_dataset
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.jobs import DatasetJob, Job, SuiteJob
from trust.errors import Problem

EVERY = 0.2  # seconds between two words about progress


def screen(job: Job, advance: Advance) -> list[Finding]:
    """Do a job of either kind."""
    return screen_dataset(job, advance) if isinstance(job, DatasetJob) else look_for_suite(job, advance)


def read_job(line: str | bytes) -> Job:
    value = json.loads(line)
    return SuiteJob.read(value) if value.get("kind") == "suite" else DatasetJob.read(value)


def _main() -> None:
    keep_secrets()
    for line in sys.stdin:
        try:
            findings = screen(read_job(line), _told(_say))
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
