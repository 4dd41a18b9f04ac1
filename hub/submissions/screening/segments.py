"""Sorted files of 64-bit keys and whose each is, written and merged piece by piece: memory holds a few pieces, however many keys.

External merge sort (Knuth, The Art of Computer Programming, volume 3, section 5.4): what fits in memory is sorted, then merged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening.duplicates import Rows
from hub.submissions.screening.minhash import NO_KEY
from hub.submissions.screening.words import Hashes

PIECE = 1 << 15  # keys
RUN = 1 << 18  # rows that are sorted at once

Owners = NDArray[np.uint32]
Piece: TypeAlias = tuple[Hashes, Owners]


def write_keys(rows: Rows, path: Path) -> None:
    """The keys of rows, ascending and each once, as a file of their own. Raises OSError."""
    runs: list[Path] = []
    for start in range(0, len(rows), RUN):
        part = rows[start : start + RUN]
        keys = np.sort(np.concatenate((part["digest"], part["bands"].ravel())))
        runs.append(path.with_suffix(f".{len(runs)}"))
        keys[keys != NO_KEY].tofile(runs[-1])
    with path.open("wb") as file:
        last = NO_KEY
        for keys, _ in merged([keys_of(run, 0) for run in runs]):
            fresh = keys[keys != np.concatenate(([np.uint64(last)], keys[:-1]))]
            fresh.tofile(file)
            last = int(keys[-1])
    for run in runs:
        run.unlink()


def keys_of(path: Path, owner: int) -> Iterator[Piece]:
    """A file of keys, all of one owner. Raises OSError."""
    for keys in _pieces(path, np.uint64):
        yield keys, np.full(len(keys), owner, dtype=np.uint32)


def read(path: Path) -> Iterator[Piece]:
    """A segment: `path` with `.keys` and with `.owners`. Raises OSError."""
    return zip(
        _pieces(path.with_suffix(".keys"), np.uint64), _pieces(path.with_suffix(".owners"), np.uint32), strict=True
    )


def write(path: Path, pieces: Iterable[Piece]) -> int:
    """Make a segment of them, durably; how many keys it has. Raises OSError."""
    count = 0
    with path.with_suffix(".keys").open("wb") as keys_file, path.with_suffix(".owners").open("wb") as owners_file:
        for keys, owners in pieces:
            keys.tofile(keys_file)
            owners.tofile(owners_file)
            count += len(keys)
        _flush(keys_file)
        _flush(owners_file)
    return count


def merged(sources: Sequence[Iterator[Piece]]) -> Iterator[Piece]:
    """One ascending stream of ascending ones; it holds a piece of each."""
    waiting = [(piece, source) for source in sources if (piece := next(source, None)) is not None]
    while waiting:
        bound = min(keys[-1] for (keys, _), _ in waiting)
        taken, left = [], []
        for (keys, owners), source in waiting:
            cut = int(np.searchsorted(keys, bound, "right"))
            taken.append((keys[:cut], owners[:cut]))
            rest = (keys[cut:], owners[cut:]) if cut < len(keys) else next(source, None)
            if rest is not None:
                left.append((rest, source))
        keys = np.concatenate([keys for keys, _ in taken])
        owners = np.concatenate([owners for _, owners in taken])
        order = np.argsort(keys, kind="stable")
        yield keys[order], owners[order]
        waiting = left


def _pieces(path: Path, kind: type[np.unsignedinteger]) -> Iterator[NDArray[np.unsignedinteger]]:
    """Opened anew for each piece: hundreds may be merged, and none stays open."""
    offset = 0
    while len(piece := np.fromfile(path, kind, PIECE, offset=offset)):
        yield piece
        offset += piece.nbytes


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
