"""A dataset's rows in batches of a quarter of a million characters: cut by the rows alone, so that every reading cuts alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.submissions.screening.jobs import ShardFile
from hub.submissions.screening.words import Batch
from protos.formats.texts import FIELDS, submitted_rows
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
        others: list[str] = []
        size, count = 0, 0
        for _, row in submitted_rows(Path(file.path), file.name):
            count += 1
            if count <= skipped:
                continue
            texts.append(row["text"])
            others.append("\n".join(row[name] for name in FIELDS[1:] if name in row))
            size += len(texts[-1]) + len(others[-1])
            if size >= SIZE:
                yield _batch(texts, others, before + count), Place(before, number, count)
                texts, others, size = [], [], 0
        if count != file.rows:
            raise Invalid(f"{file.name} has {count} rows and the manifest says {file.rows}.")
        if texts:
            yield _batch(texts, others, before + count), Place(before, number, count)
        before += count


def _batch(texts: list[str], others: list[str], end: int) -> Batch:
    first = end - len(texts)
    return Batch(texts, first, Batch(others, first) if any(others) else None)
