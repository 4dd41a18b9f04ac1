"""The texts of a dataset's file, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from protos.formats import conversations, jsonl, parquet, plaintext, preferences, tasks
from protos.formats.jsonl import Row
from protos.formats.recognition import Format, recognise
from trust.errors import Invalid

FIELDS = ("text", "title", "source")
"""What a row of a submitted file may hold, each as a text."""


def text_rows(path: Path, name: str) -> Iterator[tuple[str, Row]]:
    """(place, row) of every row; each has a `text` that is not blank. One text after the other is in memory.

    A row with a conversation instead (`messages`, in JSON Lines), or a preference, gets what was said as its text, and keeps it;
    one with a task its prompt.

    Raises `Invalid`, naming the place, for a file of another format or with a row that is not as it must be.
    """
    return _texts_only(rows_of(path, name, recognise(path, name)))


def submitted_rows(path: Path, name: str) -> Iterator[tuple[str, Row]]:
    """As `text_rows`, of a file that was submitted: no row lacks its text, and none has more than `FIELDS`."""
    kind = recognise(path, name)
    rows = parquet.rows(path, name, closed=True) if kind == "parquet" else rows_of(path, name, kind)
    return _texts_only(_fields_only(rows))


def rows_of(path: Path, name: str, kind: Format) -> Iterator[tuple[str, Row]]:
    """(place, row) of every row of a file whose format is known. Raises `Invalid` for one that holds no text."""
    if kind == "jsonl":
        return jsonl.rows(path, name)
    if kind == "parquet":
        return parquet.rows(path, name)
    if kind == "text":
        return iter([(name, {"text": plaintext.document(path, name)})])
    raise Invalid(f"{name} holds tensors, not text.", "A dataset is JSON Lines, Parquet or plain text.")


def _texts_only(rows: Iterator[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    for place, row in rows:
        if "text" not in row and conversations.FIELD in row:
            row = row | {"text": conversations.text_of_conversation(row, place)}
        elif "text" not in row and preferences.FIELD in row:
            row = row | {"text": preferences.text_of_preference(row, place)}
        elif "text" not in row and tasks.is_task(row):
            row = row | {"text": tasks.prompt_of(row, place)}
        text = row.get("text")
        if not isinstance(text, str) or not text.strip():
            raise Invalid(f"{place}: the row has no `text`.")
        yield place, row


def _fields_only(rows: Iterator[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    for place, row in rows:
        for field, value in row.items():
            if field not in FIELDS:
                raise Invalid(f"{place}: the field {field[:60]!r} is none of {', '.join(FIELDS)}.", "Leave it out.")
            if not isinstance(value, str):
                raise Invalid(f"{place}: `{field}` is not a text.", "Leave it out.")
        yield place, row
