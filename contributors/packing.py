"""From files on a member's disk to a submission: JSON Lines shards with a `text` in every row, or a list of what stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from contributors.texts import sort_files
from protos.documents.base import FileEntry
from protos.documents.submissions import DatasetFile
from protos.documents.suite import SuiteFormat, check_row
from protos.documents.suite_files import check_items, check_size
from protos.formats import jsonl
from protos.formats.jsonl import MAX_LINE, Row
from protos.formats.recognition import recognise
from protos.formats.texts import FIELDS, text_rows
from protos.transport.uploads import Source
from trust.canonical import parse
from trust.errors import Invalid, NotFound

SHARD_BYTES = 64 << 20
MAX_FILES = 1000  # that a manifest names
MAX_SUITE_JSON = 1 << 20
TOLD_EVERY = 1 << 20  # bytes
Advance = Callable[[int], None]
"""Called with the bytes of the member's files that were just read."""
_ENDING = {"jsonl": "jsonl", "parquet": "parquet", "text": "txt"}


@dataclass(frozen=True)
class Packed:
    """Files ready to be signed for, and what to send, by digest. `left_out` names files of kinds that hold no text."""

    files: tuple[FileEntry, ...]
    sources: dict[str, Source]
    left_out: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files if isinstance(file, DatasetFile))


def pack_dataset(source: Path, target: Path, advance: Advance = lambda n: None) -> Packed:
    """Pack a file or folder into shards in `target`. Deterministic. Raises `Invalid` naming file and line."""
    target.mkdir(parents=True, exist_ok=True)
    texts, left_out = sort_files(source)
    shards = _write_shards((row for path in texts for row in _rows(path, advance)), target)
    if not shards:
        raise Invalid(f"{source} holds no text.", "Give .jsonl, .txt or .md files, or .parquet with a text column.")
    files = [_dataset_file(shard.path.name, shard, rows) for shard, rows in shards]
    return Packed(
        tuple(files), {file.digest: shard for file, (shard, _) in zip(files, shards, strict=True)}, tuple(left_out)
    )


def list_dataset(source: Path, advance: Advance = lambda n: None) -> Packed:
    """The files of a dataset that stays at its site, as they lie there and are trained on.

    Their own names stay too: a name may tell what the text must not. Raises `Invalid` naming file and line.
    """
    texts, left_out = sort_files(source)
    if not 0 < len(texts) <= MAX_FILES:
        raise Invalid(f"{source} holds {len(texts)} files with text; 1 to {MAX_FILES} are allowed.")
    listed = []
    for number, path in enumerate(texts):
        rows = sum(1 for _ in _texts(path, advance))
        if not rows:
            raise Invalid(f"{path} holds no text.", "Take it out of the folder.")
        name = f"data-{number:05d}.{_ENDING[recognise(path, path.name)]}"
        listed.append(_dataset_file(name, Source(path), rows))
    return Packed(tuple(listed), {}, tuple(left_out))


def pack_suite(source: Path) -> tuple[SuiteFormat, Packed]:
    """Check a suite's folder and list its files. Raises `Invalid` naming file and line."""
    folder = source.parent if source.name == "suite.json" else source
    suite = _read_suite(folder / "suite.json")
    items = 0
    for task in suite.tasks:
        rows = 0
        for place, row in _suite_rows(folder / task.data):
            try:
                check_row(task, row)
            except Invalid as problem:
                raise Invalid(f"{place}: {problem.what}", problem.todo) from None
            rows += 1
        if not rows:
            raise Invalid(f"{folder / task.data} holds no rows.")
        items += rows
    check_items(items)
    names = ["suite.json", *dict.fromkeys(task.data for task in suite.tasks)]
    sources = [Source(folder / name) for name in names]
    check_size(sum(source.size for source in sources))
    entries = [FileEntry(path=source.path.name, digest=source.digest(), size=source.size) for source in sources]
    return suite, Packed(tuple(entries), {entry.digest: source for entry, source in zip(entries, sources, strict=True)})


def _suite_rows(path: Path) -> Iterator[tuple[str, Row]]:
    if not path.is_file():
        raise NotFound(f"{path} is missing.")
    return jsonl.rows(path, path.name)


def _read_suite(path: Path) -> SuiteFormat:
    if not path.is_file():
        raise NotFound(f"There is no suite.json in {path.parent}.")
    if path.stat().st_size > MAX_SUITE_JSON:
        raise Invalid(f"{path} has more than {MAX_SUITE_JSON} bytes.")
    try:
        return SuiteFormat.read(parse(path.read_bytes(), max_bytes=MAX_SUITE_JSON))
    except Invalid as problem:
        raise Invalid(f"{path}: {problem.what}", problem.todo, field=problem.field) from None


def _texts(path: Path, advance: Advance) -> Iterator[Row]:
    """A file's rows. What was read of it is told by the length of the texts, and exactly at its end."""
    left, passed = path.stat().st_size, 0
    for _, row in text_rows(path, path.name):
        passed += len(row["text"])
        if passed >= TOLD_EVERY:
            advance(min(passed, left))
            left, passed = left - min(passed, left), 0
        yield row
    advance(left)


def _rows(path: Path, advance: Advance) -> Iterator[Row]:
    """What is submitted of a file's rows: any other field stays with its owner. A text that is a whole file is named after it."""
    kind = recognise(path, path.name)
    for row in _texts(path, advance):
        if kind == "text":
            row = {"text": row["text"].strip(), "source": path.name}
        yield {name: row[name] for name in FIELDS if isinstance(row.get(name), str)}


def _write_shards(rows: Iterable[Row], target: Path) -> list[tuple[Source, int]]:
    """Rows one a line, in files of at most `SHARD_BYTES`, as they come, each with its number of rows: memory holds one row."""
    shards: list[tuple[Source, int]] = []
    lines = map(_encode, rows)
    pending = next(lines, None)
    while pending is not None:
        if len(shards) == MAX_FILES:
            raise Invalid(f"The text has more than {MAX_FILES * SHARD_BYTES} bytes.", "Submit it in parts.")
        path = target / f"data-{len(shards):05d}.jsonl"
        count = size = 0
        with path.open("wb") as file:
            while pending is not None and (not size or size + len(pending) <= SHARD_BYTES):
                file.write(pending)
                count, size = count + 1, size + len(pending)
                pending = next(lines, None)
        shards.append((Source(path), count))
    return shards


def _encode(row: Row) -> bytes:
    try:
        line = json.dumps(row, ensure_ascii=False, sort_keys=True).encode("utf-8") + b"\n"
    except UnicodeEncodeError:
        raise Invalid(f"A row holds half of a surrogate pair, which is no character: {row['text'][:60]!a}.") from None
    if len(line) > MAX_LINE:
        raise Invalid(f"A text has {len(line)} bytes; {MAX_LINE} are allowed: {row['text'][:60]!r}.", "Split it.")
    return line


def _dataset_file(name: str, source: Source, rows: int) -> DatasetFile:
    return DatasetFile(path=name, digest=source.digest(), size=source.size, rows=rows)
