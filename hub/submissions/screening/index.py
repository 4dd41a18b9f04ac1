"""The fingerprints of everything accepted, on disk: a cache that is rebuilt from the blobs when it is lost.

Sorted segments, merged when they become many (O'Neil et al. 1996, "The log-structured merge-tree"): a look-up is a binary
search in a handful of files, and accepting a dataset rewrites its keys a logarithmic number of times.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hub.submissions.screening.duplicates import Rows
from hub.submissions.screening.minhash import NO_KEY
from trust.errors import Corrupt
from trust.files import write_atomic

_FORMAT = 1
_CHUNK = 1 << 16  # rows
_RATIO = 3  # a segment that is less than three times as large as the newer ones together is merged with them


@dataclass(frozen=True)
class Seen:
    """Of each row: whether an equal or a near one was accepted, from its own member or from others."""

    own: NDArray[np.bool_]
    others: NDArray[np.bool_]


class Index:
    """Blocking, one writer: the hub's own process. Readers open it anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def _read(self) -> None:
        self._datasets: list[str] = []  # in the order in which they came; an empty name was dropped
        self._segments: list[str] = []
        self._leaving: list[str] = []  # merged into others; a reader may still have them in hand until the next `add`
        path = self._folder / "index.json"
        if path.exists():
            with suppress(ValueError, KeyError, AttributeError):  # damaged: begin anew
                held = json.loads(path.read_bytes())
                if held.get("format") == _FORMAT:
                    self._datasets, self._segments, self._leaving = held["datasets"], held["segments"], held["leaving"]

    def has(self, dataset: str) -> bool:
        return dataset in self._datasets

    def add(self, dataset: str, rows: Rows) -> None:
        """Remember an accepted dataset; again is nothing new."""
        if self.has(dataset):
            return
        keys = np.unique(np.concatenate((rows["digest"], rows["bands"].ravel())))
        merged, owners = (
            keys[keys != NO_KEY],
            np.full(np.count_nonzero(keys != NO_KEY), len(self._datasets), dtype=np.uint32),
        )
        kept, leaving = list(self._segments), []
        while kept and self._length(kept[-1]) < _RATIO * len(merged):
            leaving.append(kept.pop())
            held, whose = self._open(leaving[-1])
            merged, owners = np.concatenate((held, merged)), np.concatenate((whose, owners))
        order = np.argsort(merged, kind="stable")
        name = self._write(merged[order], owners[order])
        self._datasets = [*self._datasets, dataset]
        self._turn_to([*kept, name], leaving)

    def drop(self, datasets: Iterable[str]) -> None:
        """Forget datasets, and take their keys off the disk."""
        names = set(datasets) - {""}
        numbers = [number for number, name in enumerate(self._datasets) if name in names]
        if not numbers:
            return
        kept, leaving = [], []
        for segment in self._segments:
            keys, owners = self._open(segment)
            stays = ~np.isin(owners, numbers)
            if stays.all():
                kept.append(segment)
                continue
            leaving.append(segment)
            if stays.any():
                kept.append(self._write(keys[stays], owners[stays]))
        self._datasets = ["" if number in numbers else name for number, name in enumerate(self._datasets)]
        self._leaving += leaving
        self._turn_to(kept, [])

    def _write(self, keys: NDArray[np.uint64], owners: NDArray[np.uint32]) -> str:
        """A segment of sorted keys; its name."""
        name = secrets.token_hex(8)
        np.save(self._path(name, "keys"), keys)
        np.save(self._path(name, "owners"), owners)
        return name

    def _turn_to(self, segments: list[str], leaving: list[str]) -> None:
        """From now on these segments count; those that left the time before are removed."""
        gone, self._leaving, self._segments = self._leaving, leaving, segments
        held = {"format": _FORMAT, "datasets": self._datasets, "segments": segments, "leaving": leaving}
        write_atomic(self._folder / "index.json", json.dumps(held).encode())
        for segment in gone:
            for part in ("keys", "owners"):
                self._path(segment, part).unlink(missing_ok=True)

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

    def _length(self, segment: str) -> int:
        return len(self._open(segment)[0])

    def _path(self, segment: str, part: str) -> Path:
        return self._folder / f"{segment}.{part}.npy"

    def _open(self, segment: str) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
        try:
            keys = np.load(self._path(segment, "keys"), mmap_mode="r", allow_pickle=False)
            owners = np.load(self._path(segment, "owners"), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            what = f"The screening index in {self._folder} is damaged: {error}."
            raise Corrupt(what, "Delete that folder; the hub makes it anew.") from None
        return keys, owners
