"""How much of every suite stands in a dataset: runs of words that both hold.

GPT-3 (Brown et al. 2020, appendix C) calls a text overlapping when it shares a run of 13 words with an item of a test set, of 8
to 12 for shorter items, whole; runs that more than ten items share are common phrases and say nothing. The share of an item's
runs that were seen tells a quotation from the item itself (datatrove and lm-eval's decontamination use the same runs). Kept are
hashes alone: neither the index nor a finding says what a suite holds.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening.findings import Finding, Severity, about, share
from hub.submissions.screening.words import Batch, Hashes
from hub.vault import disclose, enclose

SHORT, LONG = 8, 13
FORMAT = 2  # of what `Grams.save` writes, and of what it counts as a run
COMMON = 10  # items; runs of words in more of them are left out
FOUND = 0.5  # of an item's runs
ENOUGH = 5
"""Items that must stand in a dataset before one hears of it who may not read both, the suite and the dataset."""
EXAMPLES = 5
_BITS = 22
_CHUNK = 512


@dataclass(frozen=True)
class Grams:
    """The runs of one suite: hashes, their length in words, and the item of each. Sorted by length, hash and item."""

    hashes: Hashes
    lengths: NDArray[np.uint8]
    items: NDArray[np.int32]
    total: int

    def save(self, path: Path, key: bytes = b"") -> None:
        """With a `key`, encrypted: who has the hashes of a secret text can try guesses at it."""
        held = io.BytesIO()
        np.savez(held, hashes=self.hashes, lengths=self.lengths, items=self.items, total=np.array(self.total))
        path.write_bytes(enclose(key, held.getvalue()) if key else held.getvalue())

    def too_short(self) -> int:
        """Items without a single run: nothing of them is found, wherever they stand."""
        return self.total - len(np.unique(self.items))

    @classmethod
    def load(cls, path: Path, key: bytes = b"") -> Grams:
        """Raises `Corrupt` for another key than it was saved with."""
        data = path.read_bytes()
        with np.load(io.BytesIO(disclose(key, data) if key else data), allow_pickle=False) as held:
            return cls(held["hashes"], held["lengths"], held["items"], int(held["total"]))


def grams_of(items: Iterable[Iterable[str]]) -> Grams:
    """The runs of a suite whose items are these texts (a prompt's fields, choices, answers)."""
    hashes: list[Hashes] = []
    lengths: list[NDArray[np.uint8]] = []
    owners: list[NDArray[np.int32]] = []
    texts: list[str] = []
    owner: list[int] = []
    total = 0

    def digest() -> None:
        batch, who = Batch(texts), np.array(owner, dtype=np.int32)
        counts = np.diff(batch.word_bounds)
        for n in range(SHORT, LONG + 1):
            found, places = batch.ngrams(n)
            rows = batch.word_rows[places]
            if n < LONG:
                found, rows = found[counts[rows] == n], rows[counts[rows] == n]
            hashes.append(found)
            lengths.append(np.full(len(found), n, np.uint8))
            owners.append(who[rows])

    for total, item in enumerate(items, start=1):
        for text in item:
            texts.append(text)
            owner.append(total - 1)
        if len(texts) >= _CHUNK:
            digest()
            texts, owner = [], []
    if texts:
        digest()
    if not hashes:
        return Grams(np.empty(0, np.uint64), np.empty(0, np.uint8), np.empty(0, np.int32), total)
    return _without_common(np.concatenate(hashes), np.concatenate(lengths), np.concatenate(owners), total)


def _without_common(hashes: Hashes, lengths: NDArray[np.uint8], items: NDArray[np.int32], total: int) -> Grams:
    order = np.lexsort((items, hashes, lengths))
    hashes, lengths, items = hashes[order], lengths[order], items[order]
    if len(hashes):
        fresh = np.concatenate(([True], (hashes[1:] != hashes[:-1]) | (lengths[1:] != lengths[:-1])))
        new = fresh | np.concatenate(([True], items[1:] != items[:-1]))
        hashes, lengths, items, fresh = hashes[new], lengths[new], items[new], fresh[new]
        group = np.cumsum(fresh) - 1
        keep = np.bincount(group)[group] <= COMMON
        hashes, lengths, items = hashes[keep], lengths[keep], items[keep]
    return Grams(hashes, lengths, items, total)


@dataclass
class Overlap:
    """What was seen of one suite so far: which of its runs, in how many rows, and the first of these."""

    grams: Grams
    seen: NDArray[np.bool_] = field(init=False)
    rows: int = 0
    first: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seen = np.zeros(len(self.grams.hashes), dtype=bool)
        self._bloom = np.zeros(1 << _BITS, dtype=bool)
        self._bloom[self.grams.hashes & np.uint64((1 << _BITS) - 1)] = True
        self._parts = {
            n: (int(np.searchsorted(self.grams.lengths, n)), int(np.searchsorted(self.grams.lengths, n, "right")))
            for n in map(int, np.unique(self.grams.lengths))
        }

    def look(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(runs seen, rows of the batch that hold one), without remembering them."""
        runs, rows = [], []
        for part in batch.fields:
            for n, (begin, end) in self._parts.items():
                hashes, places = part.ngrams(n)
                maybe = np.flatnonzero(self._bloom[hashes & np.uint64((1 << _BITS) - 1)])
                known = self.grams.hashes[begin:end]
                left = np.searchsorted(known, hashes[maybe])
                hit = known[np.minimum(left, len(known) - 1)] == hashes[maybe]
                rows.append(part.word_rows[places[maybe[hit]]])
                firsts = np.unique(left[hit])
                counts = np.searchsorted(known, known[firsts], "right") - firsts
                runs.append(begin + np.repeat(firsts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum()))
        if not runs:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate(runs), np.unique(np.concatenate(rows))

    def remember(self, seen: tuple[NDArray[np.int64], NDArray[np.int64]], first: int) -> None:
        """Add what `look` found in a batch whose first row has the number `first`."""
        runs, rows = seen
        self.seen[runs] = True
        self.rows += len(rows)
        self.first = [*self.first, *(int(row) + first for row in rows[:EXAMPLES])][:EXAMPLES]

    def items_found(self) -> int:
        """Items of the suite of whose runs at least half stand somewhere in the dataset."""
        size = max(self.grams.total, 1)
        have = np.bincount(self.grams.items, self.seen, minlength=size)
        return int(((have / np.maximum(np.bincount(self.grams.items, minlength=size), 1)) >= FOUND).sum())

    def tells(self, enough: int, *, readable: bool) -> bool:
        """Whether anything is said of the overlap to who may or may not read the other side of it.

        Of what one may not read: nothing before `enough` items stand in good part, and never where. Otherwise rows that each
        guess the thirteenth word of a run, all in one submission, would spell the text out; and one answer for each guess at
        a short item would tell which is right.
        """
        return self.rows > 0 and (readable or self.items_found() >= enough)

    def sentence(self, dataset: str, *, readable: bool) -> str:
        """What the suite's owner is told of a dataset, `readable` by it or not; empty where there is nothing to tell.

        It chose the suite: one of fewer than `ENOUGH` items is a guess like any other.
        """
        if not self.tells(ENOUGH, readable=readable):
            return ""
        where = f"{about(self.rows)} of its rows hold a run of the suite's words; " if readable else ""
        items = share(self.items_found(), self.grams.total)
        return f"Overlaps with the dataset {dataset}: {where}{items} of the items stand there in good part."

    def finding(self, suite: str, rows: int, severity: Severity, *, readable: bool) -> Finding | None:
        """What the submitter is told of a suite, `readable` by it or not. None where there is nothing to tell.

        All the items that can be found are enough of a suite with fewer than `ENOUGH`: its size is not the submitter's to choose.
        """
        enough = min(ENOUGH, max(1, self.grams.total - self.grams.too_short()))
        if not self.tells(enough, readable=readable):
            return None
        items = self.items_found()
        where = f"{about(self.rows)} rows ({share(self.rows, rows)}) hold a run of its words; " if readable else ""
        return Finding(
            rule="contamination",
            severity=severity,
            message=f"Overlaps with the suite {suite}: {where}{share(items, self.grams.total)} of its items stand here in good "
            "part.",
            total=rows,
            examples=tuple(f"row {row + 1}" for row in self.first) if readable else (),
        )
