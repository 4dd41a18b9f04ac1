"""A batch of texts as arrays: characters folded, words and word n-grams as 64-bit hashes, all rows at once.

A hash of a span is a difference of prefix sums: with P[i] = sum of c[j] * B**j over j < i (modulo 2**64, B odd), the span
[s, e) has (P[e] - P[s]) * B**-s (Rabin-Karp; Karp and Rabin 1987, "Efficient randomized pattern-matching algorithms").
It is then mixed as in SplitMix64 (Steele, Lea and Flood 2014). Equal words give equal hashes; a submitter who makes two
different words collide deceives nobody but itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening.alphabet import ALONE, LETTER, SIGN, SKIPPED, SPACE, Codes, table

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)
_NEWLINE = 10
_GROWTH = 1 << 20


@dataclass(frozen=True)
class Batch:
    """`texts` and the number of the first of them in the submission; `others` is what other fields of the same rows hold."""

    texts: Sequence[str]
    first: int = 0
    others: Batch | None = None
    _ngrams: dict[int, tuple[Hashes, Indices]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def fields(self) -> tuple[Batch, ...]:
        """All that the rows hold, row by row: the texts, and the other fields if there are any."""
        return (self,) if self.others is None else (self, self.others)

    @cached_property
    def joined(self) -> str:
        """All texts, each with a newline after it."""
        return "\n".join([*self.texts, ""])

    @cached_property
    def encoded(self) -> bytes:
        """`joined` in UTF-8; a lone half of a surrogate pair becomes a question mark."""
        return self.joined.encode("utf-8", "replace")

    @cached_property
    def _raw(self) -> tuple[Codes, Mask, Indices]:
        """Folded characters without the skipped ones, where lines end, and where each row ends (after its newline)."""
        points = np.frombuffer(self.joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        ends = np.cumsum([len(text) + 1 for text in self.texts], dtype=np.int64)
        codes, newlines = table()[points], points == _NEWLINE
        keep = codes != SKIPPED
        if keep.all():
            return codes, newlines, ends
        kept = np.cumsum(keep)
        return codes[keep], newlines[keep], kept[ends - 1]

    @property
    def codes(self) -> Codes:
        return self._raw[0]

    @property
    def newlines(self) -> Mask:
        return self._raw[1]

    @property
    def row_ends(self) -> Indices:
        """Where each row ends in `codes`, its newline included."""
        return self._raw[2]

    @cached_property
    def _spans(self) -> tuple[Indices, Indices]:
        codes = self.codes
        word = (codes != SPACE) & (codes & SIGN == 0)
        alone = codes & ALONE != 0
        breaks = alone[1:] | alone[:-1] | (word[1:] != word[:-1])
        begins = word & np.concatenate(([True], breaks))
        finishes = word & np.concatenate((breaks, [True]))
        return np.flatnonzero(begins), np.flatnonzero(finishes) + 1

    @property
    def starts(self) -> Indices:
        """Where each word starts in `codes`."""
        return self._spans[0]

    @property
    def ends(self) -> Indices:
        return self._spans[1]

    @cached_property
    def words(self) -> Hashes:
        """One hash a word."""
        return self.span_hashes(self.starts, self.ends)

    def span_hashes(self, starts: Indices, ends: Indices) -> Hashes:
        """A hash of each span [start, end) of `codes`."""
        prefix = self._code_prefix
        return mixed((prefix[ends] - prefix[starts]) * _powers(_INVERSE, len(prefix))[starts])

    @cached_property
    def _code_prefix(self) -> Hashes:
        return _prefix_sums(self.codes)

    @cached_property
    def alphabetic(self) -> Mask:
        """Which words begin with a letter."""
        marks: Mask = self.codes[self.starts] & LETTER != 0
        return marks

    @cached_property
    def word_bounds(self) -> Indices:
        """`words[word_bounds[r]:word_bounds[r + 1]]` are row r's."""
        return np.concatenate(([0], np.searchsorted(self.starts, self.row_ends)))

    @cached_property
    def word_rows(self) -> Indices:
        """The row of each word."""
        return np.repeat(np.arange(len(self)), np.diff(self.word_bounds))

    @cached_property
    def _prefix(self) -> Hashes:
        return _prefix_sums(self.words)

    def ngrams(self, n: int) -> tuple[Hashes, Indices]:
        """Hashes of all runs of `n` words within a row, and the index of the first word of each. Many rules ask for the same."""
        if n not in self._ngrams:
            self._ngrams[n] = self._all_ngrams(n)
        return self._ngrams[n]

    def ngrams_at(self, n: int, places: Indices) -> tuple[Hashes, Indices]:
        """Those of `ngrams(n)` that begin at some words."""
        rows = self.word_rows
        places = places[places <= len(rows) - n]
        places = places[rows[places + n - 1] == rows[places]]
        prefix = self._prefix
        return mixed((prefix[places + n] - prefix[places]) * _powers(_INVERSE, len(prefix))[places]), places

    def _all_ngrams(self, n: int) -> tuple[Hashes, Indices]:
        count = len(self.words) - n + 1
        if count <= 0:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        rows = self.word_rows
        within = np.flatnonzero(rows[n - 1 :] == rows[:count])
        prefix = self._prefix
        found = (prefix[n:][:count] - prefix[:count]) * _powers(_INVERSE, count)
        return mixed(found if len(within) == count else found[within]), within


def mixed(values: Hashes) -> Hashes:
    """SplitMix64's finaliser: every bit of the input moves every bit of the output."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _prefix_sums(values: NDArray[Any]) -> Hashes:
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.multiply(values, _powers(_BASE, len(values)), out=sums[1:], dtype=np.uint64)
    return np.cumsum(sums, out=sums)


_known: dict[int, Hashes] = {}


def _powers(base: int, count: int) -> Hashes:
    """base**0, base**1, ... modulo 2**64; kept, as every batch needs them."""
    powers = _known.get(base)
    if powers is None or len(powers) < count:
        steps = np.full(count + _GROWTH, base, dtype=np.uint64)
        steps[0] = 1
        powers = _known[base] = np.multiply.accumulate(steps)
    return powers[:count]
