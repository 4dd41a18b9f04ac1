"""How commands speak: tables and sentences for people, JSON for programs; progress on stderr.

Much of what is shown was written by others (names, reasons, messages). So nothing is read as markup, and control
characters, which could move a terminal's cursor or change its colours, are shown as `\ufffd`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from protos.coalition.v1 import common_pb2

out = Console(markup=False, emoji=False, highlight=False)
if not out.is_terminal and "COLUMNS" not in os.environ:
    out.width = 240  # in a pipe or a file there is no edge to wrap at
err = Console(markup=False, emoji=False, highlight=False, stderr=True)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

PART = 500
"""Rows of a table that are laid out together."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def plain(value: object) -> str:
    """Text by others, harmless to a terminal."""
    return _CONTROL.sub("\ufffd", str(value))


def say(*parts: object, to: Console = out) -> None:
    """A sentence of plain parts and (part, style) pairs; long ones are left to the terminal to wrap."""
    pieces = [(plain(part[0]), str(part[1])) if isinstance(part, tuple) else plain(part) for part in parts]
    to.print(Text.assemble(*pieces), soft_wrap=True)


def as_dict(message: Message) -> dict[str, Any]:
    """A protobuf message as the JSON that --json prints: snake_case, defaults included, 64-bit integers as numbers."""
    from google.protobuf.json_format import MessageToDict

    value = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return _numbers(message, value)


def _numbers(message: Message, value: dict[str, Any]) -> dict[str, Any]:
    for field in message.DESCRIPTOR.fields:
        if field.name not in value:
            continue
        if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
            found = value[field.name]
            value[field.name] = [int(item) for item in found] if isinstance(found, list) else int(found)
        elif field.message_type and not field.message_type.GetOptions().map_entry:
            inner = getattr(message, field.name)
            if isinstance(value[field.name], list):
                value[field.name] = [_numbers(m, v) for m, v in zip(inner, value[field.name], strict=True)]
            else:
                _numbers(inner, value[field.name])
    return value


def print_json(value: Any) -> None:
    """Indented for people at a terminal; programs do not mind."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_messages(messages: Iterable[Message]) -> None:
    """A JSON array, one message after the other: however many, one is in memory."""
    before = "["
    for message in messages:
        text = json.dumps(as_dict(message), ensure_ascii=False, indent=2)
        typer.echo(f"{before}\n{indent(text, '  ')}", nl=False)
        before = ","
    typer.echo("[]" if before == "[" else "\n]")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table, or the sentence `empty` when there is nothing; a long one in parts, as they come.

    A column that starts with `>` is right-aligned. One that starts with `*` holds what a user copies and is never broken,
    however narrow the terminal. Nothing is cut: the others are folded.
    """
    rest = iter(rows)
    part = list(islice(rest, PART))
    if not part:
        say(empty)
    header = True
    while part:
        out.print(_table(columns, [[plain(cell) for cell in row] for row in part], header), crop=False)
        header, part = False, list(islice(rest, PART))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], header: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, show_header=header)
    for number, column in enumerate(columns):
        whole = max(len(row[number]) for row in rows) if column.startswith("*") else None
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(plain(column.lstrip(">*")), justify=justify, width=whole, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Name and value, one a line; empty ones left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        if text := plain(value):
            table.add_row(name, text)
    out.print(table)


def say_recorded(recorded: common_pb2.Recorded, sentence: str, as_json: bool) -> None:
    """What came of a statement: its place in the ledger as JSON, or a sentence."""
    if as_json:
        print_json({"id": recorded.id, "index": recorded.receipt.index})
    else:
        say(sentence)


@contextmanager
def transfer(what: str, total: int) -> Iterator[Any]:
    """A progress bar of bytes; gives a function to advance it."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def working(what: str) -> Iterator[Any]:
    """A spinner; gives a function to change its words."""
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(what)
        yield lambda words: progress.update(task, description=f"{what} {words}")


def size(count: int) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
