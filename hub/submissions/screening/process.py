"""The screening process as the hub sees it: a child that is asked, tells how far it is, and answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hub.guard import guarded
from hub.submissions.screening.datasets import Advance
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.jobs import Job, SuiteReading
from trust.errors import Unavailable

SILENCE = 600.0  # seconds without a word, after which it is taken for stuck
MAX_LOG = 1 << 20


class Process:
    """At most one child, started when it is asked; used by one thread, which must outlive the child (see `hub.guard`)."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "worker.log"
        self._child: subprocess.Popen[bytes] | None = None

    def screen(self, job: Job, advance: Advance, payload: Iterable[bytes] = ()) -> list[Finding]:
        """Ask it a job, after which the bytes of `payload` follow.

        Raises `Unavailable` when the child dies or falls silent; the job can be asked again and goes on where it stood.
        """
        child = self._running()
        try:
            if child.stdin is not None:
                child.stdin.write(job.model_dump_json().encode() + b"\n")
                child.stdin.writelines(payload)
                child.stdin.flush()
            while True:
                word = self._hear(child)
                if "findings" in word:
                    return [Finding.read(finding) for finding in word["findings"]]
                if "problem" in word:
                    raise Unavailable(str(word["problem"]))
                advance(int(word["rows"]))
        except (OSError, ValueError, KeyError):
            self.stop()
            raise Unavailable(
                f"The screening process of {job.id} ended; see {self._log}.", "Commit it again."
            ) from None

    def stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            self._child = None

    def _hear(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        stuck = threading.Timer(SILENCE, child.kill)
        stuck.daemon = True
        stuck.start()
        try:
            line = child.stdout.readline() if child.stdout is not None else b""
        finally:
            stuck.cancel()
        value = json.loads(line)  # nothing at all, from a child that died, is no JSON either
        if not isinstance(value, dict):
            raise ValueError("not a word")
        return value

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.stop()
            keep = self._log.exists() and self._log.stat().st_size < MAX_LOG
            with self._log.open("ab" if keep else "wb") as log:
                self._child = subprocess.Popen(
                    guarded([sys.executable, "-m", "hub.submissions.screening.worker"]),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=_environment(),
                )
        return self._child


def read_apart(folder: Path, job: SuiteReading, payload: Iterable[bytes]) -> list[Finding]:
    """Have a suite read in a process that ends with it: none that reads others' datasets ever had a suite's text.

    Raises `Unavailable`, and what `payload` raises.
    """
    process = Process(folder)
    try:
        return process.screen(job, lambda rows: None, payload)
    finally:
        process.stop()


def _environment() -> dict[str, str]:
    """No credentials; one thread per matrix, as batches are what runs side by side."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR") if key in os.environ}
    path = os.pathsep.join(part for part in sys.path if part)
    memory = {
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    }  # arrays' pages are used again
    return {**kept, **memory, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
