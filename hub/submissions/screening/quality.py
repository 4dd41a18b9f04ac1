"""Quality measures: named, with threshold and source; a row outside is counted, never dropped or rejected.

Gopher: Rae et al. 2021, "Scaling Language Models" (arXiv 2112.11446), section A.1.1 and table A1. FineWeb: Penedo et al. 2024
(arXiv 2406.17557), section 3.6. C4: Raffel et al. 2020 (arXiv 1910.10683), section 2.2. Thresholds are the papers'. Two
measures are taken otherwise than there, for all rows at once: words are runs of letters and digits, and the share of repeated
n-grams counts n-grams instead of their characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening.alphabet import SIGN, SPACE
from hub.submissions.screening.words import Batch, Hashes, Indices

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
SHORT_LINE = 30  # characters
_ROW, _LENGTH = 44, 10  # bits of a key: row, hash, length of the n-gram in characters
_BUCKETS = 17  # bits, at most
_REPEATED = ((2, 0.2), (3, 0.18), (4, 0.16), (5, 0.15), (10, 0.1))  # words, and the largest share

Outside = dict[str, NDArray[np.bool_]]
Numbers = NDArray[Any]

MEASURES = {
    "gopher-word-count": "fewer than 50 or more than 100,000 words",
    "gopher-word-length": "words of fewer than 3 or more than 10 characters on average",
    "gopher-symbols": "more than one # or ellipsis for ten words",
    "gopher-bullets": "over 90 % of the lines begin with a bullet",
    "gopher-ellipses": "over 30 % of the lines end with an ellipsis",
    "gopher-letters": "fewer than 80 % of the words begin with a letter",
    "gopher-stop-words": "fewer than two of the most common English words",
    "gopher-repeated-lines": "over 30 % of the lines repeat an earlier one of the row",
    "gopher-repeated-line-characters": "over 20 % of the characters stand in repeated lines",
    "gopher-top-2-gram": "over 20 % of the characters stand in one pair of words",
    "gopher-top-3-gram": "over 18 % of the characters stand in one run of three words",
    "gopher-top-4-gram": "over 16 % of the characters stand in one run of four words",
    "gopher-repeated-5-grams": "over 15 % of the runs of five words repeat an earlier one of the row",
    "gopher-repeated-10-grams": "over 10 % of the runs of ten words repeat an earlier one of the row",
    "fineweb-line-ends": "at most 12 % of the lines end with a full stop or the like",
    "fineweb-short-lines": "over 67 % of the lines have 30 characters or fewer",
    "fineweb-repeated-line-characters": "over 10 % of the characters stand in repeated lines",
    "c4-lorem-ipsum": "placeholder text: lorem ipsum",
}


def outside(batch: Batch, english: bool = True) -> Outside:
    """For every measure, which rows lie outside its threshold; stop words are asked of English alone."""
    rows = _Rows(batch)
    return {**_words(rows, english), **_lines(rows), **_repetition(batch, rows), **_placeholders(batch)}


@dataclass(frozen=True)
class _Rows:
    batch: Batch

    @cached_property
    def words(self) -> Numbers:
        return np.diff(self.batch.word_bounds)

    @cached_property
    def characters(self) -> Numbers:
        """Per row, without its newline; at least 1."""
        lengths: Numbers = np.diff(np.concatenate(([0], self.batch.row_ends))) - 1
        return np.maximum(lengths, 1)

    @cached_property
    def lines(self) -> _Lines:
        return _Lines(self.batch)

    def total(self, rows: Indices, weights: Numbers | None = None) -> Numbers:
        found: Numbers = np.bincount(rows, weights, minlength=len(self.batch))
        return found

    def of(self, places: Indices) -> Numbers:
        """How many of these characters, in order, each row has."""
        return np.diff(np.concatenate(([0], np.searchsorted(places, self.batch.row_ends))))


class _Lines:
    """The lines that are not blank: trimmed spans of `codes`, and their rows."""

    def __init__(self, batch: Batch) -> None:
        codes = batch.codes
        solid = np.flatnonzero(codes != SPACE)
        bounds = np.searchsorted(solid, np.concatenate(([0], np.flatnonzero(batch.newlines) + 1)))
        filled = np.flatnonzero(bounds[1:] > bounds[:-1])
        self.starts = solid[bounds[:-1][filled]]
        self.ends = solid[bounds[1:][filled] - 1] + 1
        self.rows = np.searchsorted(batch.row_ends, self.starts, side="right")
        self.lengths = self.ends - self.starts
        self.first, self.last = codes[self.starts], codes[self.ends - 1]
        before = [codes[np.maximum(self.ends - back, 0)] for back in (2, 3)]
        dots = (self.last == _DOT) & (before[0] == _DOT) & (before[1] == _DOT)
        self.ellipsis = dots | (self.last == _ELLIPSIS)
        key = batch.span_hashes(self.starts, self.ends)
        order = np.lexsort((key, self.rows))
        same = (key[order][1:] == key[order][:-1]) & (self.rows[order][1:] == self.rows[order][:-1])
        self.repeated = np.zeros(len(key), dtype=bool)
        self.repeated[order[1:][same]] = True


def _words(rows: _Rows, english: bool) -> Outside:
    batch, count = rows.batch, np.maximum(rows.words, 1)
    length = rows.total(batch.word_rows, batch.ends - batch.starts) / count
    codes = batch.codes
    dots = np.flatnonzero(codes == _DOT)
    threes = dots[:-2][dots[2:] - dots[:-2] == 2]
    symbols = rows.of(np.flatnonzero((codes == _HASH) | (codes == _ELLIPSIS))) + rows.of(threes) / 2
    letters = rows.total(batch.word_rows, batch.alphabetic) / count
    return {
        "gopher-word-count": (rows.words < 50) | (rows.words > 100_000),
        "gopher-word-length": (length < 3) | (length > 10),
        "gopher-symbols": symbols / count > 0.1,
        "gopher-letters": letters < 0.8,
        "gopher-stop-words": _stop_words(batch) < 2 if english else np.zeros(len(batch), dtype=bool),
    }


def _stop_words(batch: Batch) -> Numbers:
    """How many of the common words each row has."""
    count: Numbers = np.zeros(len(batch), dtype=np.int64)
    for known in _STOP_HASHES:
        count += np.bincount(batch.word_rows[np.flatnonzero(batch.words == known)], minlength=len(batch)) > 0
    return count


def _lines(rows: _Rows) -> Outside:
    lines = rows.lines
    count = np.maximum(rows.total(lines.rows), 1)
    repeated = rows.total(lines.rows, lines.repeated * lines.lengths) / rows.characters
    return {
        "gopher-bullets": rows.total(lines.rows, np.isin(lines.first, _BULLETS)) / count > 0.9,
        "gopher-ellipses": rows.total(lines.rows, lines.ellipsis) / count > 0.3,
        "gopher-repeated-lines": rows.total(lines.rows, lines.repeated) / count > 0.3,
        "gopher-repeated-line-characters": repeated > 0.2,
        "fineweb-repeated-line-characters": repeated > 0.1,
        "fineweb-line-ends": rows.total(lines.rows, np.isin(lines.last, _STOPS)) / count <= 0.12,
        "fineweb-short-lines": rows.total(lines.rows, lines.lengths <= SHORT_LINE) / count > 0.67,
    }


def _repetition(batch: Batch, rows: _Rows) -> Outside:
    """A run of words that stands in its row once begins no longer run that stands there twice: most are asked for n = 2 alone.

    Of the others only those are sorted that may, all that share a bucket together, lie outside the threshold.
    """
    found: Outside = {}
    hashes, places = batch.ngrams(2)
    for n, threshold in _REPEATED:
        if n > 2:
            hashes, places = batch.ngrams_at(n, places)
        several, buckets = _several(batch, hashes, places)
        hashes, places = hashes[several], places[several]
        of_row = batch.word_rows[places]
        if n < 5:
            together = np.bincount(buckets, batch.ends[places + n - 1] - batch.starts[places])
            doubtful = together[buckets] > threshold * rows.characters[of_row]
            keys = _keys(batch, n, hashes[doubtful], places[doubtful])
            found[f"gopher-top-{n}-gram"] = _top(batch, keys) / rows.characters > threshold
        else:
            runs = np.maximum(rows.words - n + 1, 1)
            doubtful = (rows.total(of_row) / runs > threshold)[of_row]
            keys = _keys(batch, n, hashes[doubtful], places[doubtful])
            again = np.flatnonzero(keys[1:] == keys[:-1]) + 1
            count = rows.total((keys[again] >> np.uint64(_ROW)).astype(np.int64))
            found[f"gopher-repeated-{n}-grams"] = count / runs > threshold
    return found


def _several(batch: Batch, hashes: Hashes, places: Indices) -> tuple[Indices, Indices]:
    """Which n-grams may stand in their row twice, and the bucket of each: a table of counts tells most of the others, faster
    than sorting does."""
    rows = batch.word_rows[places].astype(np.uint64)
    bits = min(len(hashes).bit_length() + 1, _BUCKETS)  # a small table stays in the processor's cache
    buckets = ((hashes + rows * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)).astype(np.int64)
    several = np.flatnonzero((np.bincount(buckets, minlength=1 << bits) > 1)[buckets])
    return several, buckets[several]


def _keys(batch: Batch, n: int, hashes: Hashes, places: Indices) -> Hashes:
    """Row, hash and length of n-grams in one number each, sorted: equal ones of a row side by side.

    34 bits of hash: two different n-grams of a row of 1,000 words collide in one row of 30,000.
    """
    rows = batch.word_rows[places].astype(np.uint64)
    lengths = np.minimum(batch.ends[places + n - 1] - batch.starts[places], (1 << _LENGTH) - 1).astype(np.uint64)
    keys: Hashes = (
        (rows << np.uint64(_ROW)) | (hashes >> np.uint64(64 - _ROW + _LENGTH) << np.uint64(_LENGTH)) | lengths
    )
    keys.sort()
    return keys


def _top(batch: Batch, keys: Hashes) -> Numbers:
    """Characters in each row's most frequent n-gram, all its occurrences together; 0 where none occurs twice."""
    firsts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.empty(0, np.int64)
    counts = np.diff(np.concatenate((firsts, [len(keys)])))
    several = counts > 1
    keys, counts = keys[firsts[several]], counts[several]
    top = np.zeros(len(batch), dtype=np.int64)
    lengths = (keys & np.uint64((1 << _LENGTH) - 1)).astype(np.int64)
    np.maximum.at(top, (keys >> np.uint64(_ROW)).astype(np.int64), counts * lengths)
    return top


def _placeholders(batch: Batch) -> Outside:
    marked = np.zeros(len(batch), dtype=bool)
    if "lorem ipsum" in batch.joined or "Lorem ipsum" in batch.joined:
        marked[:] = ["lorem ipsum" in text.lower() for text in batch.texts]
    return {"c4-lorem-ipsum": marked}


def _sign(character: str) -> int:
    return ord(character) | SIGN


_DOT, _HASH, _ELLIPSIS = _sign("."), _sign("#"), _sign("…")
_BULLETS = np.array([_sign(character) for character in "•‣▪◦●-*"], dtype=np.uint32)
_STOPS = np.array([_sign(character) for character in '.!?"”。！？؟।…'], dtype=np.uint32)
_STOP_HASHES = Batch([" ".join(STOP_WORDS)]).words
