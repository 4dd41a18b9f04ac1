"""JSON Lines: one object a line, read so that every reader sees the same value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trust.canonical import parse
from trust.errors import Invalid

MAX_LINE = 4 << 20  # bytes
Row = dict[str, Any]
_BOM = b"\xef\xbb\xbf"


def rows(path: Path, name: str) -> Iterator[tuple[str, Row]]:
    """(place, row) of every line; a place reads `NAME, line N`.

    Raises `Invalid` for a line over `MAX_LINE` bytes, and for one that is not strict JSON (UTF-8, unique keys, finite
    numbers, at most 32 levels deep; RFC 7493) or no object. Empty lines may stand at the end alone.
    """
    empty = ""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), b""), start=1):
            place = f"{name}, line {number}"
            if len(line) > MAX_LINE:
                raise Invalid(f"{place}: longer than {MAX_LINE} bytes.")
            if number == 1:
                line = line.removeprefix(_BOM)
            if not line.strip():
                empty = empty or place
                continue
            if empty:
                raise Invalid(f"{empty}: the line is empty.")
            yield place, _row(line, place)


def _row(line: bytes, place: str) -> Row:
    try:
        row = parse(line, max_bytes=MAX_LINE, exact_integers=False)
    except Invalid as problem:
        what = re.sub(r"^The (JSON )?document", "the line", problem.what)
        raise Invalid(f"{place}: {what}") from None
    if not isinstance(row, dict):
        raise Invalid(f"{place}: not a JSON object.")
    return row
