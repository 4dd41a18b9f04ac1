"""Rows that say the same: equal after folding, or near by MinHash; within a submission and against all that was accepted."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening.alphabet import SPACE
from hub.submissions.screening.minhash import BANDS, NO_KEY
from hub.submissions.screening.words import Batch, Hashes

ROW = np.dtype([("digest", np.uint64), ("bands", np.uint64, BANDS)])
Rows = NDArray[np.void]


def digests(batch: Batch) -> Hashes:
    """64 bits of BLAKE2b over each row's text, blind to case, accents, width, marks and the amount of white space."""
    codes = batch.codes
    solid = codes != SPACE
    kept = solid | np.concatenate(([False], solid[:-1]))  # one space after each run of characters
    data = codes[kept].tobytes()
    before = np.concatenate(([0], np.cumsum(kept)))
    ends = before[batch.row_ends]
    starts = np.concatenate(([0], ends[:-1]))
    return np.array(
        [
            int.from_bytes(blake2b(data[4 * start : 4 * end], digest_size=8).digest(), "little")
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ],
        dtype=np.uint64,
    )


def fingerprints(batch: Batch, keys: Hashes) -> Rows:
    """Digest and band keys of each row, as they are stored."""
    rows = np.empty(len(batch), dtype=ROW)
    rows["digest"], rows["bands"] = digests(batch), keys
    return rows


def load(path: Path) -> Rows:
    """A file of fingerprints; read from disk as needed."""
    return np.memmap(path, dtype=ROW, mode="r") if path.exists() and path.stat().st_size else np.empty(0, dtype=ROW)


def repeated(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(exact, near): which rows repeat an earlier one; near are those that share a band with one and are not exact."""
    exact = _later(rows["digest"])
    near = np.zeros(len(rows), dtype=bool)
    for band in range(BANDS):
        keys = rows["bands"][:, band]
        near |= _later(keys) & (keys != NO_KEY)
    return exact, near & ~exact


def _later(keys: Hashes) -> NDArray[np.bool_]:
    """Which elements equal an earlier one."""
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    later = np.zeros(len(keys), dtype=bool)
    later[order[1:][same]] = True
    return later
