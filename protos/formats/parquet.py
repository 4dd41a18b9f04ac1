"""Parquet, read in a process of its own whose memory is bounded: its pages say themselves how much they unpack to.

`python -m protos.formats.parquet FILE open|closed PARENT` writes each row as one line of JSON, or a last line
`{"refused": "..."}`. Its memory and its time are bounded, and it dies with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from protos.formats.jsonl import MAX_LINE, Row
from protos.formats.parquet_footer import Footer, read_footer, read_index
from protos.formats.parquet_marks import check_marks
from trust.errors import Invalid, Unavailable

MEMORY = 2 << 30  # bytes of address space for the reader, over what it has once its library is loaded
SECONDS = 60  # of a processor, for any file
SECONDS_A_MEBIBYTE = 10
MAX_FOOTER = 16 << 20
MAX_COLUMNS = 100
MAX_GROUP = 1 << 30  # bytes of one row group, unpacked
MAX_EXPANSION = 200  # text that comes out, as a multiple of the file
ROW = 16  # characters that a row counts for, be it empty: pages hold any number of nulls in no bytes at all
SLACK = 16 << 20
COLUMNS = ("text", "title", "source")
_BATCH = 256
_PR_SET_PDEATHSIG = 1


def rows(path: Path, name: str, *, closed: bool = False) -> Iterator[tuple[str, Row]]:
    """(place, row) of every row with a text; of its columns, `text`, `title` and `source`.

    A file that is read `closed` has no other columns and no metadata of its own, and its rows without a text come too.
    Raises `Invalid` for a file that is damaged, holds more than that, or is larger inside than it may be. The reader dies
    with the thread that took the first row.
    """
    which = "closed" if closed else "open"
    command = [sys.executable, "-m", "protos.formats.parquet", str(path.resolve()), which, str(os.getpid())]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        for number, line in enumerate(_lines(child.stdout), start=1):
            row = json.loads(line)
            if "refused" in row:
                raise Invalid(f"{name}: {row['refused']}", row.get("todo", ""))
            yield f"{name}, row {number}", row["row"]
        if child.wait() != 0:
            _explain(child, name)
    finally:
        child.kill()
        child.communicate()


def _lines(pipe: IO[bytes] | None) -> Iterator[bytes]:
    """Each at most as long as a row may be: a character takes up to six bytes in JSON."""
    while pipe is not None and (line := pipe.readline(8 * MAX_LINE)):
        yield line


def _explain(child: subprocess.Popen[bytes], name: str) -> None:
    if child.returncode == -signal.SIGXCPU:
        raise Invalid(
            f"{name} takes longer to read than a Parquet file of its size may.", "Write it again as JSON Lines."
        )
    said = child.stderr.read(4096) if child.stderr is not None else b""
    if b"pyarrow" in said and b"ModuleNotFoundError" in said:
        raise Unavailable(f"{name}: reading Parquet needs pyarrow.", "Run `pip install pyarrow`.")
    raise Invalid(
        f"{name} could not be read as Parquet within {MEMORY >> 20} MiB.", "Write it again with smaller row groups."
    )


def _main(path: Path, closed: bool, parent: int) -> None:
    _die_with(parent)
    import pyarrow
    from pyarrow import parquet

    pyarrow.set_cpu_count(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    seconds = SECONDS + SECONDS_A_MEBIBYTE * (path.stat().st_size >> 20)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    try:
        for row in _read(path, parquet, closed=closed):
            _say({"row": row})
    except Invalid as problem:
        _say({"refused": problem.what, "todo": problem.todo})
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        _say({"refused": f"not readable as Parquet: {str(error)[:200]}"})


def _say(word: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(word, ensure_ascii=False).encode() + b"\n")


def _die_with(parent: int) -> None:
    """Nobody reads on when the parent is gone, and what is read may have no end (prctl(2); see also `hub.guard`)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _read(path: Path, parquet: Any, *, closed: bool) -> Iterator[Row]:
    options = {"thrift_string_size_limit": MAX_FOOTER, "thrift_container_size_limit": 1 << 20, "pre_buffer": False}
    budget = MAX_EXPANSION * path.stat().st_size + SLACK
    with parquet.ParquetFile(path, **options) as file:
        wanted = _check_schema(file, closed=closed)
        bounds: set[bytes] = set()
        if closed:
            footer = _closed_footer(path)
            bounds.update(filter(None, footer.bounds))  # of a page without texts, none
            check_marks(footer, file.metadata.created_by, file.metadata.metadata or {}, file.schema_arrow)
        if not 0 <= ROW * file.metadata.num_rows <= budget:
            raise Invalid(f"it has {file.metadata.num_rows} rows, more than a file of its size may.")
    # Dictionaries stay dictionaries: a page may say "this one value, a billion times".
    with parquet.ParquetFile(path, read_dictionary=wanted, **options) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=wanted, use_threads=False):
            for index in range(batch.num_rows):
                row = {name: batch.column(name)[index].as_py() for name in wanted}
                row = {name: value for name, value in row.items() if isinstance(value, str)}
                budget -= max(ROW, sum(map(len, row.values())))
                if _size(row) > MAX_LINE:
                    raise Invalid(f"a row has more than {MAX_LINE} bytes.")
                if budget < 0:
                    raise Invalid(f"its text is more than {MAX_EXPANSION} times the file's size.")
                if bounds:
                    bounds.difference_update(value.encode() for value in row.values())
                if closed or row.get("text", "").strip():
                    yield row
    if bounds:
        raise Invalid(
            f"its statistics name {_shown(min(bounds))}, which is the text of no row.",
            "Write it anew with pyarrow, or with `write_statistics=False`.",
        )


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "replace"))


def _size(row: Row) -> int:
    """Bytes of text in UTF-8, or a bound where that is far from the limit."""
    bound = 4 * sum(map(len, row.values()))
    return bound if bound <= MAX_LINE else sum(len(value.encode()) for value in row.values())


def _footer(path: Path) -> bytes:
    """Its length stands between it and the closing magic (parquet.apache.org, "File Format"). Raises `Invalid`."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        if length > min(MAX_FOOTER, size - 12):
            raise Invalid(f"its footer would have {length} bytes.")
        file.seek(size - 8 - length)
        return file.read(length)


def _closed_footer(path: Path) -> Footer:
    """What the footer and the page indexes say. Raises `Invalid`."""
    found = read_footer(_footer(path))
    if min(found.lengths, default=0) < 0 or min(found.offsets, default=0) < 0 or sum(found.lengths) > MAX_FOOTER:
        raise Invalid("its page indexes are damaged.", "Write it anew with pyarrow.")
    with path.open("rb") as file:
        for offset, length in zip(found.offsets, found.lengths, strict=True):
            file.seek(offset)
            read_index(file.read(length), found)
    return found


def _check_schema(file: Any, *, closed: bool) -> list[str]:
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
    if closed and (more := [name for name in schema.names if name not in COLUMNS]):
        raise Invalid(f"its column {more[0][:60]!r} is none of {', '.join(COLUMNS)}.")
    wanted = [name for name in COLUMNS if name in schema.names]
    if len(schema.names) != len(set(schema.names)):
        raise Invalid("two of its columns share a name.")
    for name in wanted:
        kind = schema.field(name).type
        if str(getattr(kind, "value_type", kind)) not in ("string", "large_string", "string_view"):
            raise Invalid(f"the column `{name}` holds {kind}, not text.")
    return wanted


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2] == "closed", int(sys.argv[3]))
