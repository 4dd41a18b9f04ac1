"""What contenders of `benchmarks.rounds` give and how they are watched: seconds, bytes and memory of rounds without training."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._measure import Most

EVERY = 0.02


@dataclass(frozen=True)
class Rounds:
    """Of one run. `seconds` of each round but the first, which starts things up; a round's `processor` seconds and the bytes
    `moved` between server and sites; `peak` the server's memory at its most, in bytes, libraries and all. `parts` are the
    processor seconds by kind of process, `stages` the seconds by what a round does one after the other, where they are known."""

    seconds: tuple[float, ...]
    processor: float
    moved: float
    peak: float
    parts: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Ends:
    """Notes, at the end of each round, the time, the bytes moved so far and the processor time of all our processes, by kind:
    `words` says what is in the command line of a kind's processes."""

    def __init__(self, moved: Callable[[], int], words: Mapping[str, str] | None = None) -> None:
        self._moved, self._words = moved, words or {}
        self._noted: list[tuple[float, float, Counter[str]]] = []

    def __len__(self) -> int:
        return len(self._noted)

    def note(self) -> None:
        used: Counter[str] = Counter()
        for pid in descendants(os.getpid()):
            used[self._kind(pid)] += _processor(pid)
        self._noted.append((time.monotonic(), self._moved(), used))

    def _kind(self, pid: int) -> str:
        line = _command(pid)
        return next((kind for kind, word in self._words.items() if word in line), "the benchmark's own")

    def rounds(self, peak: int, stages: Mapping[str, float] | None = None) -> Rounds:
        pairs = list(zip(self._noted, self._noted[1:], strict=False))
        first, last, count = self._noted[0], self._noted[-1], len(pairs)
        return Rounds(
            tuple(after[0] - before[0] for before, after in pairs),
            (last[2].total() - first[2].total()) / count,
            (last[1] - first[1]) / count,
            peak,
            {kind: (used - first[2][kind]) / count for kind, used in last[2].items()} if self._words else {},
            stages or {},
        )


def _processor(pid: int) -> float:
    """Seconds of a process and of those of its children that are gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory(pids: Iterable[int]) -> int:
    """Bytes that these processes hold now, without what is mapped from files."""
    return sum(_anonymous(pid) for pid in pids)


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem")))
    return sum(int(line[1]) << 10 for line in lines)


def descendants(pid: int) -> set[int]:
    """A process and those that it started."""
    found, fresh = {pid}, [pid]
    while fresh:
        for task in Path(f"/proc/{fresh.pop()}/task").glob("*/children"):
            try:
                children = {int(word) for word in task.read_text().split()}
            except OSError:
                continue
            fresh += children - found
            found |= children
    return found


def named(word: str) -> set[int]:
    """Our processes whose command line holds the word, and those that they started."""
    found: set[int] = set()
    for pid in descendants(os.getpid()):
        if word in _command(pid):
            found |= descendants(pid)
    return found


def _command(pid: int) -> str:
    """A process's command line; nothing for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class Peak(Most):
    """The most that the processes named by `pids` held together while the block ran."""

    def __init__(self, pids: Callable[[], Collection[int]]) -> None:
        super().__init__(EVERY)
        self._pids, self._known, self._looked = pids, pids(), time.monotonic()

    def now(self) -> int:
        if time.monotonic() - self._looked > 1:
            self._known, self._looked = self._pids(), time.monotonic()
        return memory(self._known)
