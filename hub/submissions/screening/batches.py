"""A dataset's rows in batches of a quarter of a million characters: cut by the rows alone, so that every reading cuts alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.submissions.screening.jobs import ShardFile
from hub.submissions.screening.words import Batch
from protos.formats.texts import text_rows
from trust.errors import Invalid

SIZE = 1 << 18  # characters


@dataclass(frozen=True)
class Place:
    """Where a reading stands: rows of earlier files, the file, the rows of it that went by."""

    before: int = 0
    file: int = 0
    row: int = 0


def batches(files: Sequence[ShardFile], start: Place = Place()) -> Iterator[tuple[Batch, Place]]:
    """(batch, place after it) from `start` on. Raises `Invalid` for what is no row, and for a wrong number of them."""
    before = start.before
    for number, file in enumerate(files[start.file :], start=start.file):
        if not file.rows:
            continue
        skipped = start.row if number == start.file else 0
        texts: list[str] = []
        size, count = 0, 0
        for _, row in text_rows(Path(file.path), file.name):
            count += 1
            if count <= skipped:
                continue
            texts.append(row["text"])
            size += len(row["text"])
            if size >= SIZE:
                yield Batch(texts, before + count - len(texts)), Place(before, number, count)
                texts, size = [], 0
        if count != file.rows:
            raise Invalid(f"{file.name} has {count} rows and the manifest says {file.rows}.")
        if texts:
            yield Batch(texts, before + count - len(texts)), Place(before, number, count)
        before += count
