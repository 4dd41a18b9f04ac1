"""MinHash signatures of rows and the keys of locality-sensitive hashing, for a whole batch at once.

Broder 1997, "On the resemblance and containment of documents": the share of equal minima of two sets under random hash
functions estimates their Jaccard similarity. The shape is FineWeb's (Penedo et al. 2024, section 3.4): shingles of 5 words, 112
functions in 14 bands of 8, so that two texts of similarity s share a band with probability 1 - (1 - s**8)**14: 0.77 at
0.75, 0.92 at 0.8, 0.05 at 0.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening.words import Batch, Hashes, mixed

SHINGLE = 5
BANDS, ROWS = 14, 8
FUNCTIONS = BANDS * ROWS
NO_KEY = 0

Signatures = NDArray[np.uint32]

_random = np.random.Generator(np.random.PCG64(20240617))
# Odd factors: x -> a * x + b is a permutation of the 32-bit numbers, and shingles come well mixed.
_A = _random.integers(0, 1 << 31, FUNCTIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_B = _random.integers(0, 1 << 32, FUNCTIONS, dtype=np.uint32)


def signatures(batch: Batch) -> tuple[Signatures, NDArray[np.int64]]:
    """(rows, signatures): 112 minima for each row that has a shingle, and which rows these are."""
    shingles, places = batch.ngrams(SHINGLE)
    return minima((shingles >> np.uint64(32)).astype(np.uint32), batch.word_rows[places])


def minima(values: NDArray[np.uint32], rows: NDArray[np.int64]) -> tuple[Signatures, NDArray[np.int64]]:
    """Signatures of the sets of `values` with equal `rows` (ascending)."""
    if not len(values):
        return np.empty((0, FUNCTIONS), np.uint32), np.empty(0, np.int64)
    starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
    result = np.empty((len(starts), FUNCTIONS), np.uint32)
    room = np.empty_like(values)
    for index in range(FUNCTIONS):
        np.multiply(values, _A[index], out=room)
        np.add(room, _B[index], out=room)
        result[:, index] = np.minimum.reduceat(room, starts)
    return result, rows[starts]


def estimate(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> float:
    """The estimated Jaccard similarity of two signatures; standard error sqrt(s * (1 - s) / 112), at most 0.048."""
    return float(np.mean(one == other))


def band_keys(found: Signatures) -> Hashes:
    """14 keys a signature: rows that share one are near duplicates. Never `NO_KEY`."""
    parts = found.reshape(len(found), BANDS, ROWS).astype(np.uint64)
    keys = np.broadcast_to(np.arange(1, BANDS + 1, dtype=np.uint64), (len(found), BANDS)).copy()
    for index in range(ROWS):
        keys = mixed(keys + parts[:, :, index])
    return np.maximum(keys, np.uint64(1))


def keys_of(batch: Batch) -> Hashes:
    """Band keys for every row of a batch; `NO_KEY` for rows without a shingle."""
    keys = np.full((len(batch), BANDS), NO_KEY, dtype=np.uint64)
    found, rows = signatures(batch)
    keys[rows] = band_keys(found)
    return keys
