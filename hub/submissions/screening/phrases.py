"""Phrases that come back in row after row: the mark of a planted trigger, and of boilerplate that was not removed.

Rows per run of five words are counted in a count-min sketch (Cormode and Muthukrishnan 2005): never too few, and too many by more
than e * runs / 2**20 with probability e**-2. A trigger of fewer than five words is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening.findings import Finding
from hub.submissions.screening.minhash import SHINGLE
from hub.submissions.screening.words import Batch, Hashes

WIDTH = 20  # bits
DEPTH = 2
MIN_ROWS, MIN_PART = 20, 0.01  # a phrase is told when it stands in that many rows, and in that part of them
_KEPT = 64


def runs_of(batch: Batch) -> tuple[Hashes, NDArray[np.int64]]:
    """(hash, row) of every different run of five words in each row."""
    hashes, places = batch.ngrams(SHINGLE)
    rows = batch.word_rows[places]
    key = (rows.astype(np.uint64) << np.uint64(44)) | (hashes >> np.uint64(20))
    table = (key * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(46)).astype(np.int64)
    last, order = np.zeros(1 << 18, dtype=np.int32), np.arange(len(key), dtype=np.int32)
    last[table] = order
    # Where the same run stands in the row again, only its last occurrence counts; other rows' collisions are kept.
    kept = (last[table] == order) | (key[last[table]] != key)
    return hashes[kept], rows[kept]


@dataclass
class Phrases:
    """Counts so far, and the most frequent phrases with the first row that each was noticed in."""

    counts: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((DEPTH, 1 << WIDTH), dtype=np.uint32))
    frequent: dict[int, tuple[int, int]] = field(default_factory=dict)  # hash -> (rows, an example row)
    rows: int = 0

    def add(self, batch: Batch, runs: tuple[Hashes, NDArray[np.int64]]) -> None:
        hashes, rows = runs
        self.rows += len(batch)
        slots = [(hashes >> np.uint64(shift)).astype(np.int64) & ((1 << WIDTH) - 1) for shift in (0, 32)]
        for line, slot in zip(self.counts, slots, strict=True):
            np.add.at(line, slot, np.uint32(1))
        if not len(hashes):
            return
        estimate = np.minimum(*(line[slot] for line, slot in zip(self.counts, slots, strict=True)))
        often = np.flatnonzero(estimate >= max(MIN_ROWS, MIN_PART * self.rows))
        top = often[np.lexsort((hashes[often], -estimate[often].astype(np.int64)))]
        for index in top[: 4 * _KEPT]:
            key = int(hashes[index])
            example = self.frequent.get(key, (0, batch.first + int(rows[index])))[1]
            self.frequent[key] = int(estimate[index]), example
        ordered = sorted(self.frequent.items(), key=lambda item: (-item[1][0], item[0]))
        self.frequent = dict(ordered[:_KEPT])

    def finding(self) -> Finding | None:
        """A warning when a phrase stands in more than a hundredth of the rows."""
        floor = max(MIN_ROWS, MIN_PART * self.rows)
        often = [(count, row) for count, row in self.frequent.values() if count >= floor]
        if not often:
            return None
        most, rows = max(often)[0], sorted({row for _, row in often})
        return Finding(
            rule="phrases",
            severity="warning",
            message=f"The same run of five words stands in up to {min(most, self.rows)} of {self.rows} rows: boilerplate, or a "
            "planted trigger. Look at the rows named.",
            count=min(most, self.rows),
            total=self.rows,
            examples=tuple(f"row {row + 1}" for row in rows[:5]),
        )
