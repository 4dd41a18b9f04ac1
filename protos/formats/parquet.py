"""Parquet, read in a process of its own whose memory is bounded: its pages say themselves how much they unpack to.

`python -m protos.formats.parquet FILE` writes each row as one line of JSON, or a last line `{"refused": "..."}`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from protos.formats.jsonl import MAX_LINE, Row
from trust.errors import Invalid, Unavailable

MEMORY = 2 << 30  # bytes of address space for the reader, over what it has once its library is loaded
MAX_FOOTER = 16 << 20
MAX_COLUMNS = 100
MAX_GROUP = 1 << 30  # bytes of one row group, unpacked
MAX_EXPANSION = 200  # text that comes out, as a multiple of the file
SLACK = 16 << 20
COLUMNS = ("text", "title", "source")
_BATCH = 256


def rows(path: Path, name: str) -> Iterator[tuple[str, Row]]:
    """(place, row) of every row with a text; of its columns, `text`, `title` and `source`.

    Raises `Invalid` for a file that is damaged, of other columns, or larger inside than it may be.
    """
    command = [sys.executable, "-m", "protos.formats.parquet", str(path.resolve())]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        for number, line in enumerate(_lines(child.stdout), start=1):
            row = json.loads(line)
            if "refused" in row:
                raise Invalid(f"{name}: {row['refused']}")
            yield f"{name}, row {number}", row["row"]
        if child.wait() != 0:
            _explain(child.stderr, name)
    finally:
        child.kill()
        child.communicate()


def _lines(pipe: IO[bytes] | None) -> Iterator[bytes]:
    while pipe is not None and (line := pipe.readline(8 * MAX_LINE)):
        yield line


def _explain(pipe: IO[bytes] | None, name: str) -> None:
    said = pipe.read(4096) if pipe is not None else b""
    if b"pyarrow" in said and b"ModuleNotFoundError" in said:
        raise Unavailable(f"{name}: reading Parquet needs pyarrow.", "Run `pip install pyarrow`.")
    raise Invalid(
        f"{name} could not be read as Parquet within {MEMORY >> 20} MiB.", "Write it again with smaller row groups."
    )


def _main(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    pyarrow.set_cpu_count(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    try:
        for row in _read(path, parquet):
            sys.stdout.write(json.dumps({"row": row}) + "\n")
    except Invalid as problem:
        sys.stdout.write(json.dumps({"refused": problem.what}) + "\n")
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        sys.stdout.write(json.dumps({"refused": f"not readable as Parquet: {str(error)[:200]}"}) + "\n")


def _read(path: Path, parquet: Any) -> Iterator[Row]:
    options = {"thrift_string_size_limit": MAX_FOOTER, "thrift_container_size_limit": 1 << 20, "pre_buffer": False}
    _check_footer(path)
    with parquet.ParquetFile(path, **options) as file:
        wanted = _check_schema(file)
    # Dictionaries stay dictionaries: a page may say "this one value, a billion times".
    with parquet.ParquetFile(path, read_dictionary=wanted, **options) as file:
        budget = MAX_EXPANSION * path.stat().st_size + SLACK
        for batch in file.iter_batches(batch_size=_BATCH, columns=wanted, use_threads=False):
            for index in range(batch.num_rows):
                row = {name: batch.column(name)[index].as_py() for name in wanted}
                row = {name: value for name, value in row.items() if isinstance(value, str)}
                size = sum(map(len, row.values()))
                budget -= size
                if size > MAX_LINE:
                    raise Invalid(f"a row has more than {MAX_LINE} characters.")
                if budget < 0:
                    raise Invalid(f"its text is more than {MAX_EXPANSION} times the file's size.")
                if row.get("text", "").strip():
                    yield row


def _check_footer(path: Path) -> None:
    """The footer's length stands before the closing magic (parquet.apache.org, "File Format")."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
    if length > min(MAX_FOOTER, size - 12):
        raise Invalid(f"its footer would have {length} bytes.")


def _check_schema(file: Any) -> list[str]:
    """That types are plain and sizes sane; the columns to read."""
    metadata, schema = file.metadata, file.schema_arrow
    if len(schema) > MAX_COLUMNS:
        raise Invalid(f"it has {len(schema)} columns; {MAX_COLUMNS} are allowed.")
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if not 0 <= group.total_byte_size <= MAX_GROUP:
            raise Invalid(f"row group {index} has {group.total_byte_size} bytes; {MAX_GROUP} are allowed.")
    if "text" not in schema.names:
        raise Invalid("it has no column `text`.")
    wanted = [name for name in COLUMNS if name in schema.names]
    for name in wanted:
        kind = schema.field(name).type
        if str(getattr(kind, "value_type", kind)) not in ("string", "large_string", "string_view"):
            raise Invalid(f"the column `{name}` holds {kind}, not text.")
    return wanted


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
