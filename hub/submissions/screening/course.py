"""The course of one screening: what the rules found so far, kept between batches so that a killed hub goes on from there.

A checkpoint is one file that replaces the last one whole; fingerprints of rows are appended beside it and cut back to the
length that the checkpoint names. Batches depend on the rows alone, so an interrupted course ends like an uninterrupted one.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hub.submissions.screening import duplicates, language, minhash, pii, quality
from hub.submissions.screening.batches import Place
from hub.submissions.screening.contamination import Overlap
from hub.submissions.screening.duplicates import Rows
from hub.submissions.screening.phrases import Phrases, runs_of
from hub.submissions.screening.words import Batch, Hashes
from trust.files import write_atomic

EXAMPLES = 5
_FORMAT = 2


@dataclass(frozen=True)
class Part:
    """What the rules say about one batch: pure, so that batches can be looked at side by side."""

    batch: Batch
    size: int
    languages: Counter[str]
    personal: list[pii.Found]
    outside: dict[str, int]
    fingerprints: Rows
    runs: tuple[Hashes, Any]
    overlaps: list[tuple[Any, Any]]


def examine(batch: Batch, overlaps: list[Overlap]) -> Part:
    languages = language.sample(batch)
    english = not languages or languages.most_common(1)[0][0] == "en"
    return Part(
        batch=batch,
        size=len(batch.encoded),
        languages=languages,
        personal=[found for field in batch.fields for found in pii.find(field)],
        outside={name: int(rows.sum()) for name, rows in quality.outside(batch, english).items()},
        fingerprints=duplicates.fingerprints(batch, minhash.keys_of(batch)),
        runs=runs_of(batch),
        overlaps=[overlap.look(batch) for overlap in overlaps],
    )


@dataclass
class Course:
    """The sums over the batches so far; overlaps by suite. Of those that are `late`, nothing was looked for in these batches."""

    folder: Path
    overlaps: dict[str, Overlap]
    late: list[Overlap] = field(default_factory=list)
    place: Place = field(default_factory=Place)
    rows: int = 0
    size: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    holders: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    phrases: Phrases = field(default_factory=Phrases)

    def add(self, part: Part, place: Place) -> None:
        """Take a batch's findings in; batches come in their order."""
        self.place, self.rows, self.size = place, self.rows + len(part.batch), self.size + part.size
        self.languages += part.languages
        self.outside.update(part.outside)
        for found in part.personal:
            self.values[found.kind] += 1
            shown = self.examples.setdefault(found.kind, [])
            if len(shown) < EXAMPLES:
                shown.append(f"row {found.row + 1}: {found.shape}")
        self.holders.update(kind for kind, _ in {(found.kind, found.row) for found in part.personal})
        self.phrases.add(part.batch, part.runs)
        for overlap, seen in zip(self.overlaps.values(), part.overlaps, strict=True):
            overlap.remember(seen, part.batch.first)
        with self._fingerprints.open("ab") as file:
            file.write(part.fingerprints.tobytes())

    def fingerprints(self) -> Rows:
        return duplicates.load(self._fingerprints)

    @property
    def _fingerprints(self) -> Path:
        return self.folder / "fingerprints"

    def keep(self) -> None:
        """Make the course so far durable."""
        if self._fingerprints.exists():
            with self._fingerprints.open("rb") as file:
                os.fsync(file.fileno())
        numbers = {
            "format": _FORMAT,
            "place": [self.place.before, self.place.file, self.place.row],
            "rows": self.rows,
            "size": self.size,
            "languages": self.languages,
            "outside": self.outside,
            "values": self.values,
            "holders": self.holders,
            "examples": self.examples,
            "phrases": [[key, *value] for key, value in self.phrases.frequent.items()],
            "overlaps": {suite: [overlap.rows, overlap.first] for suite, overlap in self.overlaps.items()},
        }
        arrays: dict[str, Any] = {f"seen {suite}": overlap.seen for suite, overlap in self.overlaps.items()}
        held = io.BytesIO()
        np.savez(
            held,
            numbers=np.frombuffer(json.dumps(numbers).encode(), dtype=np.uint8),
            counts=self.phrases.counts,
            **arrays,
        )
        write_atomic(self.folder / "course.npz", held.getvalue())

    @classmethod
    def resume(cls, folder: Path, overlaps: dict[str, Overlap]) -> Course:
        """Where the last checkpoint stands, or the beginning when there is none that fits. Suites may have come or gone since."""
        folder.mkdir(parents=True, exist_ok=True)
        course = cls(folder, overlaps)
        try:
            with np.load(folder / "course.npz", allow_pickle=False) as held:
                numbers = json.loads(held["numbers"].tobytes())
                if numbers["format"] == _FORMAT:
                    course._restore(numbers, {name: held[name] for name in held.files if name != "numbers"})
        except (OSError, ValueError, KeyError, BadZipFile):
            course = cls(folder, {suite: Overlap(overlap.grams) for suite, overlap in overlaps.items()})
        with course._fingerprints.open("ab") as file:
            file.truncate(course.rows * duplicates.ROW.itemsize)
        return course

    def _restore(self, numbers: dict[str, Any], arrays: dict[str, Any]) -> None:
        if self._fingerprints.stat().st_size < numbers["rows"] * duplicates.ROW.itemsize:
            raise ValueError("fingerprints were lost")
        self.place = Place(*numbers["place"])
        self.rows, self.size = numbers["rows"], numbers["size"]
        for name in ("languages", "outside", "values", "holders"):
            getattr(self, name).update(numbers[name])
        self.examples.update(numbers["examples"])
        frequent = {key: (count, row) for key, count, row in numbers["phrases"]}
        self.phrases = Phrases(arrays["counts"].copy(), frequent, self.rows)
        for suite, overlap in self.overlaps.items():
            seen = arrays.get(f"seen {suite}")
            if seen is not None and seen.shape == overlap.seen.shape:
                overlap.seen = seen.copy()
                overlap.rows, overlap.first = numbers["overlaps"][suite]
            else:
                self.late.append(overlap)
