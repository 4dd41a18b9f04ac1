"""Screening runs in processes without secrets that may die, and members take turns."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest

from hub.submissions.screening import worker
from hub.submissions.screening.datasets import Advance, screen_dataset
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.jobs import DatasetJob, Job, ShardFile
from hub.submissions.screening.process import Process
from hub.submissions.screening.screener import Screener
from trust.errors import Unavailable


def job(folder: Path, identifier: str = "data-1", rows: int = 50, words: int = 40) -> DatasetJob:
    path = folder / f"{identifier}.jsonl"
    lines = (" ".join(f"{n}w{k * n % 997}" for k in range(words)) for n in range(1, rows + 1))
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return DatasetJob(
        id=identifier,
        licence="MIT",
        rows=rows,
        files=(ShardFile(name=path.name, path=str(path), rows=rows),),
        index=str(folder / "index"),
        folder=str(folder / "jobs" / identifier),
    )


def submit(screener: Screener, job: Job, member: str) -> Future[list[Finding]]:
    return screener.submit(job.id, member, lambda run, advance: run(job, advance))


def children() -> list[int]:
    """Of every thread of ours; one that ends while we look has none."""
    found: list[int] = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return found


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.stop()


@pytest.mark.system
def test_the_process_finds_what_the_function_finds_and_has_no_secrets(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COALITION_TOKEN", "canary")
    before = set(children())
    findings = process.screen(job(tmp_path, "a"), lambda rows: None)
    (child,) = set(children()) - before
    assert b"canary" not in Path(f"/proc/{child}/environ").read_bytes()
    assert findings == screen_dataset(job(tmp_path, "b"))


@pytest.mark.system
def test_a_process_that_dies_is_replaced_and_the_job_is_done(tmp_path: Path) -> None:
    screener, before = Screener(tmp_path), set(children())
    try:
        done = submit(screener, job(tmp_path, rows=8_000), "law-institute")
        seen = threading.Event()
        while not screener.rows("data-1"):
            seen.wait(0.01)
        for child in set(children()) - before:
            os.kill(child, signal.SIGKILL)
        found = {finding.rule: finding for finding in done.result(120)}
        assert found["schema"].count == 8_000
    finally:
        screener.stop()


def test_members_take_turns_and_one_has_one_job_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    gate, lock = threading.Event(), threading.Lock()
    going: dict[str, int] = {}

    def run(job: Job, advance: Advance) -> list[Finding]:
        member = job.id.partition("-")[0]
        with lock:
            order.append(job.id)
            going[member] = going.get(member, 0) + 1
            assert going[member] == 1
        gate.wait(30)
        with lock:
            going[member] -= 1
        return []

    screener = Screener(tmp_path, run=run)
    flood = [submit(screener, job(tmp_path, f"loud-{n}", rows=1), "loud") for n in range(6)]
    quiet = [submit(screener, job(tmp_path, f"{name}-0", rows=1), name) for name in ("calm", "mild")]
    gate.set()
    for future in [*flood, *quiet]:
        assert future.result(30) == []
    screener.stop()
    assert order.index("calm-0") <= 2
    assert order.index("mild-0") <= 4
    assert [name for name in order if name.startswith("loud")] == [f"loud-{n}" for n in range(6)]


def test_the_same_job_twice_is_done_once(tmp_path: Path) -> None:
    gate, runs = threading.Event(), []

    def run(job: Job, advance: Advance) -> list[Finding]:
        runs.append(job.id)
        gate.wait(30)
        return []

    screener = Screener(tmp_path, run=run)
    one, again = (submit(screener, job(tmp_path, rows=1), "law-institute") for _ in range(2))
    gate.set()
    assert one is again
    assert one.result(30) == []
    screener.stop()
    assert runs == ["data-1"]


def test_a_job_that_kills_its_process_every_time_is_given_up(tmp_path: Path) -> None:
    def run(job: Job, advance: Advance) -> list[Finding]:
        raise Unavailable("It died.")

    screener = Screener(tmp_path, run=run)
    with pytest.raises(Unavailable):
        submit(screener, job(tmp_path, rows=1), "law-institute").result(30)
    screener.stop()


def test_what_our_own_code_fails_at_is_refused_and_a_machine_that_fails_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for failure in (OverflowError("int too large"), KeyError("text"), RecursionError()):
        monkeypatch.setattr(worker, "screen_dataset", _failing(failure))
        (finding,) = worker.judged(job(tmp_path, rows=1), lambda rows: None)
        assert finding.severity == "reject"
    for failure in (MemoryError(), OSError(5, "Input/output error")):
        monkeypatch.setattr(worker, "screen_dataset", _failing(failure))
        with pytest.raises(type(failure)):
            worker.judged(job(tmp_path, rows=1), lambda rows: None)


def _failing(error: Exception) -> Callable[[Job, Advance], list[Finding]]:
    def screen_dataset(job: Job, advance: Advance) -> list[Finding]:
        raise error

    return screen_dataset
