"""The fingerprints of everything accepted, on disk: a cache that is rebuilt from the blobs when it is lost.

Sorted segments, merged when they become many (O'Neil et al. 1996, "The log-structured merge-tree"): a look-up is a binary
search in a handful of files, and accepting a dataset rewrites its keys a logarithmic number of times.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening import segments
from hub.submissions.screening.duplicates import Rows
from hub.submissions.screening.minhash import NO_KEY
from hub.submissions.screening.segments import Owners, Piece
from hub.submissions.screening.words import Hashes
from trust.errors import Corrupt
from trust.files import write_atomic

_FORMAT = 2
_CHUNK = 1 << 16  # rows
_RATIO = 3  # a segment that is less than three times as large as the newer ones together is merged with them


@dataclass(frozen=True)
class Seen:
    """Of each row: whether an equal or a near one was accepted, from its own member or from others."""

    own: NDArray[np.bool_]
    others: NDArray[np.bool_]


class Index:
    """Blocking, one writer: the hub's own process, whose memory holds pieces of segments alone. Readers open it anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def _read(self) -> None:
        self._datasets: list[str] = []  # in the order in which they came; an empty name was dropped
        self._segments: dict[str, int] = {}  # with how many keys each has, oldest first
        path = self._folder / "index.json"
        if path.exists():
            with suppress(ValueError, KeyError, AttributeError):  # damaged: begin anew
                held = json.loads(path.read_bytes())
                if held.get("format") == _FORMAT:
                    self._datasets, self._segments = held["datasets"], held["segments"]

    def has(self, dataset: str) -> bool:
        return dataset in self._datasets

    def add(self, dataset: str, keys: Path) -> None:
        """Remember an accepted dataset by its file of keys (`segments.write_keys`); again is nothing new.

        Raises `Corrupt`, OSError.
        """
        if self.has(dataset):
            return
        size = keys.stat().st_size // np.dtype(np.uint64).itemsize
        kept, leaving = dict(self._segments), []
        while kept and (length := kept[newest := list(kept)[-1]]) < _RATIO * size:
            leaving.append(newest)
            size += length
            del kept[newest]
        sources = [segments.read(self._sound(name)) for name in leaving]
        merged = segments.merged([segments.keys_of(keys, len(self._datasets)), *sources])
        fresh = self._write(merged)
        self._datasets = [*self._datasets, dataset]
        self._turn_to({**kept, **fresh}, leaving)

    def drop(self, datasets: Iterable[str]) -> None:
        """Forget datasets, and take their keys off the disk. Raises `Corrupt`, OSError."""
        names = set(datasets) - {""}
        numbers = [number for number, name in enumerate(self._datasets) if name in names]
        if not numbers:
            return
        kept: dict[str, int] = {}
        for segment, length in self._segments.items():
            kept |= self._without(segment, length, numbers)
        self._datasets = ["" if number in numbers else name for number, name in enumerate(self._datasets)]
        self._turn_to(kept)

    def _without(self, segment: str, length: int, numbers: list[int]) -> dict[str, int]:
        """What becomes of a segment when some datasets go: itself, a new one, or nothing."""
        stays = ((keys, owners, ~np.isin(owners, numbers)) for keys, owners in segments.read(self._sound(segment)))
        fresh = self._write((keys[kept], owners[kept]) for keys, owners, kept in stays)
        (left,) = fresh.values()
        return {segment: length} if left == length else fresh if left else {}

    def _write(self, pieces: Iterable[Piece]) -> dict[str, int]:
        """A new segment with its length."""
        name = secrets.token_hex(8)
        return {name: segments.write(self._folder / name, pieces)}

    def _turn_to(self, now: dict[str, int], leaving: Sequence[str] = ()) -> None:
        """From now on these segments count; the others are removed, but for those that a reader may still have in hand."""
        self._segments = now
        held = {"format": _FORMAT, "datasets": self._datasets, "segments": now}
        write_atomic(self._folder / "index.json", json.dumps(held).encode())
        for path in self._folder.iterdir():
            if path.name != "index.json" and path.stem not in {*now, *leaving}:
                path.unlink(missing_ok=True)

    def look(self, rows: Rows, own: Iterable[str], others: Iterable[str]) -> Seen:
        """Which rows were seen in datasets of the member's own and in those of others; datasets in neither do not count."""
        try:
            return self._look(rows, own, others)
        except Corrupt:
            before = self._segments
            self._read()  # segments that were read of may have been merged or dropped meanwhile
            if self._segments == before:
                raise
            return self._look(rows, own, others)

    def _look(self, rows: Rows, own: Iterable[str], others: Iterable[str]) -> Seen:
        kinds = np.zeros(len(self._datasets) + 1, dtype=np.uint8)
        for kind, names in ((1, set(own)), (2, set(others))):
            for number, name in enumerate(self._datasets):
                if name in names:
                    kinds[number] |= kind
        found = np.zeros(len(rows), dtype=np.uint8)
        for segment in self._segments:
            known, owners = self._open(segment)
            whose = np.append(kinds[owners], np.uint8(0))
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                keys = np.concatenate((part["digest"][:, None], part["bands"]), axis=1)
                places, values = np.nonzero(keys != NO_KEY)[0], keys[keys != NO_KEY]
                left, right = np.searchsorted(known, values), np.searchsorted(known, values, "right")
                hit = left < right
                if hit.any():
                    spans = np.column_stack((left[hit], right[hit])).ravel()
                    held = np.bitwise_or.reduceat(whose, spans)[::2]
                    np.bitwise_or.at(found, start + places[hit], held)
        return Seen(found & 1 > 0, found & 2 > 0)

    def _open(self, segment: str) -> tuple[Hashes, Owners]:
        path = self._sound(segment)
        keys, owners = (
            np.memmap(path.with_suffix(".keys"), np.uint64, "r"),
            np.memmap(path.with_suffix(".owners"), np.uint32, "r"),
        )
        return keys, owners

    def _sound(self, segment: str) -> Path:
        """Where a segment lies. Raises `Corrupt` when it is not whole."""
        path, count = self._folder / segment, self._segments[segment]
        for suffix, width in ((".keys", 8), (".owners", 4)):
            file = path.with_suffix(suffix)
            if not file.is_file() or file.stat().st_size != width * count:
                what = f"The screening index in {self._folder} is damaged: {file.name} is not whole."
                raise Corrupt(what, "Delete that folder; the hub makes it anew.")
        return path
