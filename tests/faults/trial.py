"""One fault after the other: prepare, act with the fault, restart, look; and the table of what came of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.faults import injection
from tests.faults.injection import DURABLE, Point
from tests.faults.scenarios import COMMANDS, SCENARIOS, Ack
from tests.faults.warm import Warm, warm

Outcome = Literal["killed", "stopped", "refused", "unharmed", "not reached", "broken"]
"""The process was killed; it stopped itself; it refused with a Problem and took the retry; the fault did no harm."""
OUTCOMES: tuple[Outcome, ...] = ("killed", "stopped", "refused", "unharmed", "not reached", "broken")


@dataclass(frozen=True)
class Result:
    """What a fault did; `why` says what is broken."""

    point: Point
    outcome: Outcome
    why: str = ""


@dataclass
class Said:
    """What the process with the fault told before it ended."""

    acked: list[Ack] = field(default_factory=list)
    refusals: int = 0
    failed: str = ""
    ended: bool = False


class Trials:
    """Prepared hubs, and the process that forks."""

    def __init__(self, directory: Path, forks: Warm) -> None:
        self._directory, self._forks = directory, forks
        self.points: list[Point] = []
        for scenario in SCENARIOS:
            self._prepare(scenario)
            self.points += self._count(scenario)

    def run(self, point: Point) -> Result:
        """Let the fault happen on a copy of the prepared hub, then restart on it and check every promise."""
        with self._copy(point.scenario) as directory:
            out = directory / "trace"
            said = self._act(directory, point, out)
            happened = injection.happened(out)
            if not happened:
                return Result(point, "not reached")
            serving = point.scenario not in COMMANDS  # a command may flush what it throws away
            flush = serving and point.fault != "KILL" and point.call in DURABLE and f"{directory}/hub>" not in happened
            answer = self._forks.once("inspect", directory, point.scenario, said.acked)
            why = _broken_promise(said, flush) or str(answer.get("failed", "")).strip()
            return Result(point, "broken" if why else _outcome(point, said), why)

    def _prepare(self, scenario: str) -> None:
        directory = self._directory / scenario
        directory.mkdir()
        answer = self._forks.once("prepare", directory, scenario)
        if "failed" in answer:
            raise RuntimeError(str(answer["failed"]))
        shutil.copyfile(directory / "hub" / "ledger" / "checkpoint", directory / "note")

    def _count(self, scenario: str) -> list[Point]:
        with self._copy(scenario) as directory:
            out = directory / "trace"
            with self._forks.child("act", directory, scenario) as child:
                messages = child.messages()
                threads = _ready(messages)
                with injection.attached(injection.counting(), threads[0], out):
                    child.go()
                    said = _listen(messages)
            if not said.ended or said.refusals:
                raise RuntimeError(f"{scenario} does not work without faults: {said}")
            return injection.points(out, scenario, threads, directory / "hub")

    def _act(self, directory: Path, point: Point, out: Path) -> Said:
        with self._forks.child("act", directory, point.scenario) as child:
            messages = child.messages()
            thread = _ready(messages)[point.thread]
            with injection.attached(injection.injecting(point, directory / "hub"), thread, out):
                child.go()
                return _listen(messages)

    @contextmanager
    def _copy(self, scenario: str) -> Iterator[Path]:
        """A hub to break; blobs never change, so they are linked. Its path has always the same length."""
        with tempfile.TemporaryDirectory(dir=self._directory) as directory:
            target = Path(directory) / "case"
            shutil.copytree(self._directory / scenario, target, copy_function=_link_blobs)
            yield target


def _link_blobs(source: str, target: str) -> str:
    if "/blobs/sha256/" in source:
        os.link(source, target)
        return target
    return shutil.copy2(source, target)


def _ready(messages: Iterator[dict[str, object]]) -> list[int]:
    first = next(messages)
    if "ready" not in first:
        raise RuntimeError(str(first))
    return list(first["ready"])  # type: ignore[call-overload]


def _listen(messages: Iterator[dict[str, object]]) -> Said:
    said = Said()
    for message in messages:
        if "acked" in message:
            payload, index = message["acked"]  # type: ignore[misc]
            if (payload, index) not in said.acked:
                said.acked.append((payload, index))
        said.refusals += "refused" in message
        said.failed = said.failed or str(message.get("failed", ""))
        said.ended = said.ended or "ended" in message
    return said


def _broken_promise(said: Said, flush: bool) -> str:
    """What the process itself did wrong. `flush`: it was an fsync that failed, of anything but the hub's own folder.

    That one is SQLite's alone, which looks away when the folder of its write-ahead log cannot be flushed (os_unix.c,
    unixSync); the ledger is the source of what is in it.
    """
    if said.failed:
        return f"an error that is no Problem came out: {said.failed.strip().splitlines()[-1]}"
    if said.refusals > 1:
        return "the retry in the same process was refused as well"
    if flush and said.ended:
        return "the hub went on after a failed fsync"
    return ""


def _outcome(point: Point, said: Said) -> Outcome:
    if point.fault == "KILL":
        return "killed"
    if not said.ended:
        return "stopped"
    return "refused" if said.refusals else "unharmed"


@contextmanager
def trials() -> Iterator[Trials]:
    """On a file system in memory where there is one: a fault is injected at the call, the disk only costs time."""
    memory = Path("/dev/shm")  # noqa: S108
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="coalition-faults-", dir=place) as directory, warm() as forks:
        yield Trials(Path(directory), forks)


def table(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """Per scenario, call and fault: how many points, and how many ended in which way."""
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for result in results:
        key = (result.point.scenario, result.point.call, result.point.fault)
        counts.setdefault(key, Counter())[result.outcome] += 1
    rows: list[Sequence[str]] = [("scenario", "call", "fault", "points", *OUTCOMES)]
    for key, counter in sorted(counts.items()):
        rows.append((*key, str(counter.total()), *(str(counter[outcome] or "") for outcome in OUTCOMES)))
    total = sum(counts.values(), Counter[str]())
    rows.append(("all", "", "", str(total.total()), *(str(total[outcome]) for outcome in OUTCOMES)))
    return [tuple(row) for row in rows]
