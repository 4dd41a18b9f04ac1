"""From files on a member's disk to a submission: JSON Lines shards with a `text` in every row, and Croissant metadata.

Croissant: mlcommons.org/croissant, format specification 1.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from protos.documents.base import FileEntry
from protos.documents.submissions import DatasetFile
from protos.documents.suite import SuiteFormat, check_row
from trust.canonical import parse
from trust.digests import digest_file, hex_of
from trust.errors import Invalid, NotFound

SHARD_BYTES = 64 << 20
MAX_LINE = 4 << 20
MAX_SUITE_JSON = 1 << 20
METADATA = "croissant.json"


@dataclass(frozen=True)
class Packed:
    """Files ready to be signed for, and where each lies, by digest."""

    files: tuple[FileEntry, ...]
    paths: dict[str, Path]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files if isinstance(file, DatasetFile))


def pack_dataset(source: Path, target: Path, *, name: str, domain: str, licence: str, provenance: str) -> Packed:
    """Pack a file or folder into shards in `target`. Deterministic. Raises `Invalid` naming file and line."""
    target.mkdir(parents=True, exist_ok=True)
    shards = _write_shards(_rows(source), target)
    if not shards:
        raise Invalid(f"{source} holds no text.", "Give .jsonl, .txt or .md files, or .parquet with a text column.")
    entries = [_dataset_file(path, rows) for path, rows in shards]
    metadata = target / METADATA
    metadata.write_text(json.dumps(_croissant(name, domain, licence, provenance, entries), indent=2) + "\n")
    entries.append(_dataset_file(metadata, 0))
    return Packed(tuple(entries), {entry.digest: target / entry.path for entry in entries})


def pack_suite(source: Path) -> tuple[SuiteFormat, Packed]:
    """Check a suite's folder and list its files. Raises `Invalid` naming file and line."""
    folder = source.parent if source.name == "suite.json" else source
    try:
        suite = SuiteFormat.read(parse((folder / "suite.json").read_bytes(), max_bytes=MAX_SUITE_JSON))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"There is no suite.json in {folder}.") from None
    for task in suite.tasks:
        for place, row in _json_lines(folder / task.data):
            try:
                check_row(task, row)
            except Invalid as problem:
                raise Invalid(f"{place}: {problem.what}", problem.todo) from None
    names = ["suite.json", *dict.fromkeys(task.data for task in suite.tasks)]
    entries = [_entry(folder / name) for name in names]
    return suite, Packed(tuple(entries), {entry.digest: folder / entry.path for entry in entries})


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    if not source.exists():
        raise NotFound(f"There is nothing at {source}.")
    paths = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for path in paths:
        if path.suffix == ".jsonl":
            yield from _text_rows(path)
        elif path.suffix in (".txt", ".md"):
            yield from _whole(path)
        elif path.suffix == ".parquet":
            yield from _parquet(path)
        elif source.is_file():
            raise Invalid(f"{path} is of no kind that can be packed.", "Give .jsonl, .txt, .md or .parquet.")


def _text_rows(path: Path) -> Iterator[dict[str, Any]]:
    for place, row in _json_lines(path):
        if not isinstance(row.get("text"), str) or not row["text"].strip():
            raise Invalid(f"{place}: the row has no `text`.")
        yield row


def _whole(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text("utf-8").strip()
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 at byte {error.start}.") from None
    if text:
        yield {"text": text, "source": path.name}


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import parquet  # type: ignore[import-untyped]
    except ImportError:
        raise Invalid(f"{path}: reading Parquet needs pyarrow.", "Run `pip install pyarrow`.") from None
    file = parquet.ParquetFile(path)
    if "text" not in file.schema_arrow.names:
        raise Invalid(f"{path} has no column `text`.")
    for batch in file.iter_batches(columns=["text"]):
        for value in batch.column(0):
            if text := (value.as_py() or "").strip():
                yield {"text": text}


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of every line; the place reads `FILE, line N`."""
    if not path.is_file():
        raise NotFound(f"{path} is missing.")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path.name}, line {number}"
            if len(line) > MAX_LINE:
                raise Invalid(f"{place}: longer than {MAX_LINE} bytes.")
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise Invalid(f"{place}: not JSON.") from None
            if not isinstance(row, dict):
                raise Invalid(f"{place}: not a JSON object.")
            yield place, row


def _write_shards(rows: Iterator[dict[str, Any]], target: Path) -> list[tuple[Path, int]]:
    shards: list[tuple[Path, int]] = []
    file: TextIO | None = None
    count = size = 0
    for row in rows:
        line = json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"
        if file is None or size + len(line) > SHARD_BYTES:
            if file is not None:
                file.close()
                shards.append((Path(file.name), count))
            file = (target / f"data-{len(shards):05d}.jsonl").open("w", encoding="utf-8", newline="\n")
            count = size = 0
        file.write(line)
        count, size = count + 1, size + len(line.encode())
    if file is not None:
        file.close()
        shards.append((Path(file.name), count))
    return shards


def _entry(path: Path) -> FileEntry:
    return FileEntry(path=path.name, digest=digest_file(path), size=path.stat().st_size)


def _dataset_file(path: Path, rows: int) -> DatasetFile:
    return DatasetFile(path=path.name, digest=digest_file(path), size=path.stat().st_size, rows=rows)


def _croissant(name: str, domain: str, licence: str, provenance: str, shards: list[DatasetFile]) -> dict[str, Any]:
    return {
        "@context": {
            "@vocab": "https://schema.org/",
            "cr": "http://mlcommons.org/croissant/",
            "dct": "http://purl.org/dc/terms/",
            "sc": "https://schema.org/",
        },
        "@type": "sc:Dataset",
        "dct:conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"Text of the domain {domain}: {provenance}",
        "license": licence,
        "keywords": [domain],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": shard.path,
                "name": shard.path,
                "contentUrl": shard.path,
                "contentSize": f"{shard.size} B",
                "encodingFormat": "application/jsonlines",
                "sha256": hex_of(shard.digest),
            }
            for shard in shards
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "rows",
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": "rows/text",
                        "dataType": "sc:Text",
                        "source": {"fileObject": {"@id": shards[0].path}, "extract": {"jsonPath": "$.text"}},
                    }
                ],
            }
        ],
    }
