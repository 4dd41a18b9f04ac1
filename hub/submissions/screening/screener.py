"""Who is screened when: members take turns, and of one member one submission at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from hub.submissions.screening.datasets import Advance
from hub.submissions.screening.findings import Finding
from hub.submissions.screening.jobs import Job
from hub.submissions.screening.process import Process
from trust.errors import Unavailable

WORKERS = 2
TRIES = 2  # of a job whose process dies; the second goes on where the first stood
IDLE = 120.0  # seconds, after which a process that has nothing to do is ended

Run = Callable[[Job, Advance], list[Finding]]
Work = Callable[[Run, Advance], list[Finding]]
"""What is done when its turn has come: its jobs are made then, so that they know what was accepted meanwhile."""


@dataclass
class _Waiting:
    id: str
    work: Work
    done: Future[list[Finding]] = field(default_factory=Future)
    rows: int = 0


class Screener:
    """Jobs go to up to two processes; `run` does them in the hub's own threads instead."""

    def __init__(self, folder: Path, run: Run | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._run = run
        self._turns: deque[str] = deque()
        self._queues: dict[str, deque[_Waiting]] = {}
        self._going: dict[str, _Waiting] = {}  # by member
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [threading.Thread(target=self._work, name="screening", daemon=True) for _ in range(WORKERS)]
        self._started = False

    def submit(self, identifier: str, member: str, work: Work) -> Future[list[Finding]]:
        """Findings to come; what waits or goes on already under that identifier is not done twice."""
        with self._changed:
            if waiting := self._find(identifier):
                return waiting.done
            waiting = _Waiting(identifier, work)
            self._queues.setdefault(member, deque()).append(waiting)
            if member not in self._turns:
                self._turns.append(member)
            if not self._started:
                self._started = True
                for thread in self._threads:
                    thread.start()
            self._changed.notify_all()
            return waiting.done

    def rows(self, identifier: str) -> int:
        """Rows of a submission that were screened so far; 0 for one that is not here."""
        with self._changed:
            waiting = self._find(identifier)
            return waiting.rows if waiting else 0

    def stop(self) -> None:
        """End the processes; what they were at goes on after the next start."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _find(self, identifier: str) -> _Waiting | None:
        everything = [*self._going.values(), *(each for queue in self._queues.values() for each in queue)]
        return next((waiting for waiting in everything if waiting.id == identifier), None)

    def _work(self) -> None:
        process = Process(self.folder)
        run = self._run or process.screen
        while True:
            taken = self._take(process.stop)
            if taken is None:
                process.stop()
                return
            member, waiting = taken
            try:
                outcome: list[Finding] | Exception = _persist(run, waiting)
            except Exception as error:
                outcome = error
            with self._changed:
                del self._going[member]
                self._changed.notify_all()
            if isinstance(outcome, Exception):
                waiting.done.set_exception(outcome)
            else:
                waiting.done.set_result(outcome)

    def _take(self, idle: Callable[[], None]) -> tuple[str, _Waiting] | None:
        with self._changed:
            while not self._stopped:
                for _ in range(len(self._turns)):
                    member = self._turns.popleft()
                    if member in self._going:
                        self._turns.append(member)
                        continue
                    waiting = self._queues[member].popleft()
                    if self._queues[member]:
                        self._turns.append(member)
                    else:
                        del self._queues[member]
                    self._going[member] = waiting
                    return member, waiting
                if not self._changed.wait(IDLE):
                    idle()
        return None


def _persist(run: Run, waiting: _Waiting) -> list[Finding]:
    def advance(rows: int) -> None:
        waiting.rows = rows

    for _ in range(TRIES - 1):
        try:
            return waiting.work(run, advance)
        except Unavailable:
            continue
    return waiting.work(run, advance)
