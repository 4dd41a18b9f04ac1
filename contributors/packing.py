"""From files on a member's disk to a submission: JSON Lines shards with a `text` in every row, and Croissant metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contributors.croissant import metadata
from protos.documents.base import FileEntry
from protos.documents.submissions import DatasetFile
from protos.documents.suite import SuiteFormat, check_row
from trust.canonical import parse
from trust.digests import digest_file
from trust.errors import Invalid, NotFound

SHARD_BYTES = 64 << 20
MAX_SHARDS = 999  # a manifest names at most 1,000 files
MAX_LINE = 4 << 20  # what the hub's screening accepts
MAX_SUITE_JSON = 1 << 20
METADATA = "croissant.json"
KEPT = ("text", "title", "source")
"""The fields of a row that are submitted, where they are texts. Any other field stays with its owner."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Packed:
    """Files ready to be signed for, and where each lies, by digest. `left_out` names files of kinds that hold no text."""

    files: tuple[FileEntry, ...]
    paths: dict[str, Path]
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files if isinstance(file, DatasetFile))


def pack_dataset(source: Path, target: Path, *, name: str, domain: str, licence: str, provenance: str) -> Packed:
    """Pack a file or folder into shards in `target`. Deterministic. Raises `Invalid` naming file and line."""
    target.mkdir(parents=True, exist_ok=True)
    texts, left_out = _sort(source)
    shards = _write_shards((row for path in texts for row in _READERS[path.suffix](path)), target)
    if not shards:
        raise Invalid(f"{source} holds no text.", "Give .jsonl, .txt or .md files, or .parquet with a text column.")
    described = metadata(
        name=name, domain=domain, licence=licence, provenance=provenance, shards=shards, fields=KEPT[:1]
    )
    (target / METADATA).write_text(json.dumps(described, indent=2) + "\n", "utf-8")
    entries = (*shards, _dataset_file(target / METADATA, 0))
    return Packed(entries, {entry.digest: target / entry.path for entry in entries}, tuple(left_out))


def pack_suite(source: Path) -> tuple[SuiteFormat, Packed]:
    """Check a suite's folder and list its files. Raises `Invalid` naming file and line."""
    folder = source.parent if source.name == "suite.json" else source
    suite = _read_suite(folder / "suite.json")
    for task in suite.tasks:
        rows = 0
        for place, row in _json_lines(folder / task.data):
            try:
                check_row(task, row)
            except Invalid as problem:
                raise Invalid(f"{place}: {problem.what}", problem.todo) from None
            rows += 1
        if not rows:
            raise Invalid(f"{folder / task.data} holds no rows.")
    names = ["suite.json", *dict.fromkeys(task.data for task in suite.tasks)]
    entries = [_entry(folder / name) for name in names]
    return suite, Packed(tuple(entries), {entry.digest: folder / entry.path for entry in entries})


def _read_suite(path: Path) -> SuiteFormat:
    if not path.is_file():
        raise NotFound(f"There is no suite.json in {path.parent}.")
    if path.stat().st_size > MAX_SUITE_JSON:
        raise Invalid(f"{path} has more than {MAX_SUITE_JSON} bytes.")
    try:
        return SuiteFormat.read(parse(path.read_bytes(), max_bytes=MAX_SUITE_JSON))
    except Invalid as problem:
        raise Invalid(f"{path}: {problem.what}", problem.todo, field=problem.field) from None


def _sort(source: Path) -> tuple[list[Path], list[str]]:
    """Files with text in the order of their names, and the names of the others. Hidden files are nobody's business."""
    if not source.exists():
        raise NotFound(f"There is nothing at {source}.")
    if source.is_file():
        if source.suffix not in _READERS:
            raise Invalid(f"{source} is of no kind that can be packed.", "Give .jsonl, .txt, .md or .parquet.")
        return [source], []
    texts, others = [], []
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_dir() or any(part.startswith(".") for part in name.parts):
            continue
        if path.is_symlink() or path.suffix not in _READERS:
            others.append(name.as_posix())
        else:
            texts.append(path)
    return texts, others


def _text_rows(path: Path) -> Iterator[Row]:
    for place, row in _json_lines(path):
        if not isinstance(row.get("text"), str) or not row["text"].strip():
            raise Invalid(f"{place}: the row has no `text`.")
        yield {name: row[name] for name in KEPT if isinstance(row.get(name), str)}


def _whole(path: Path) -> Iterator[Row]:
    try:
        text = path.read_text("utf-8").strip()
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 at byte {error.start}.") from None
    if text:
        yield {"text": text, "source": path.name}


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ImportError:
        raise Invalid(f"{path}: reading Parquet needs pyarrow.", "Run `pip install pyarrow`.") from None
    try:
        with parquet.ParquetFile(path) as file:
            if "text" not in file.schema_arrow.names:
                raise Invalid(f"{path} has no column `text`.")
            for batch in file.iter_batches(columns=["text"]):
                for value in batch.column(0).to_pylist():
                    if not isinstance(value, str | None):
                        raise Invalid(f"{path}: the column `text` is not of text.")
                    if value and value.strip():
                        yield {"text": value}
    except ArrowException as error:
        raise Invalid(f"{path} is not readable as Parquet: {error}.") from None


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _text_rows,
    ".txt": _whole,
    ".md": _whole,
    ".parquet": _parquet,
}


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    """(place, row) of every line; the place reads `FILE, line N`."""
    if not path.is_file():
        raise NotFound(f"{path} is missing.")
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), start=1):
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


def _write_shards(rows: Iterable[Row], target: Path) -> list[DatasetFile]:
    """Rows one a line, in files of at most `SHARD_BYTES`, as they come: memory holds one row."""
    shards: list[DatasetFile] = []
    lines = map(_encode, rows)
    pending = next(lines, None)
    while pending is not None:
        if len(shards) == MAX_SHARDS:
            raise Invalid(f"The text has more than {MAX_SHARDS * SHARD_BYTES} bytes.", "Submit it in parts.")
        path = target / f"data-{len(shards):05d}.jsonl"
        count = size = 0
        with path.open("wb") as file:
            while pending is not None and (not size or size + len(pending) <= SHARD_BYTES):
                file.write(pending)
                count, size = count + 1, size + len(pending)
                pending = next(lines, None)
        shards.append(_dataset_file(path, count))
    return shards


def _encode(row: Row) -> bytes:
    try:
        line = json.dumps(row, ensure_ascii=False, sort_keys=True).encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        raise Invalid(f"A row holds half of a surrogate pair, which is no character: {row['text'][:60]!a}.") from None
    if len(line) > MAX_LINE:
        raise Invalid(f"A text has {len(line)} bytes; {MAX_LINE} are allowed: {row['text'][:60]!r}.", "Split it.")
    return line


def _entry(path: Path) -> FileEntry:
    return FileEntry(path=path.name, digest=digest_file(path), size=path.stat().st_size)


def _dataset_file(path: Path, rows: int) -> DatasetFile:
    return DatasetFile(path=path.name, digest=digest_file(path), size=path.stat().st_size, rows=rows)
