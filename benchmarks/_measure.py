"""What the benchmarks share: interleaved repetitions, medians, and a table that names the machine's load beside the figures."""

from __future__ import annotations

import os
import statistics
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from rich.console import Console
from rich.table import Table


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int = 5) -> dict[str, float]:
    """The median figure of each contender, measured in turn so that a slow moment of the machine meets all of them."""
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            figures[name].append(measure())
    return {name: statistics.median(values) for name, values in figures.items()}


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` (0 to 1) of them lie."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def spread(values: Sequence[float], digits: int) -> str:
    """The mean over seeds with the standard deviation, of which one seed has none."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


class Most(ABC):
    """The most `bytes` that `now` told while the block ran, asked every so many seconds."""

    def __init__(self, every: float) -> None:
        self._every, self.bytes = every, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @abstractmethod
    def now(self) -> int: ...

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            self.bytes = max(self.bytes, self.now())


def show(title: str, unit: str, figures: Mapping[str, float], against: str) -> None:
    """Each figure with its ratio to the named contender or limit of the same run."""
    table = Table("", unit, f"ratio to {against}", title=title)
    for name, value in figures.items():
        table.add_row(name, f"{value:,.0f}", f"{value / figures[against]:.2f}")
    Console().print(table)
    Console().print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", highlight=False)
