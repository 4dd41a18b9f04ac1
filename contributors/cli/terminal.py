"""How commands speak: tables and sentences for people, JSON for programs; progress on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.table import Table

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def as_dict(message: Message) -> dict[str, Any]:
    """A protobuf message as the JSON that --json prints: snake_case, defaults included, 64-bit integers as numbers."""
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
    out.print_json(json.dumps(value, ensure_ascii=False))


def print_messages(messages: Iterable[Message]) -> None:
    print_json([as_dict(message) for message in messages])


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table, or the sentence `empty` that says what to do when there is nothing. A column that starts with `>` is right-aligned."""
    listed = [[str(cell) for cell in row] for row in rows]
    if not listed:
        out.print(empty)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    for row in listed:
        table.add_row(*row)
    out.print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Name and value, one a line; empty ones left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        if str(value):
            table.add_row(name, str(value))
    out.print(table)


@contextmanager
def transfer(what: str, total: int) -> Iterator[Any]:
    """A progress bar of bytes; gives a function to advance it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


@contextmanager
def working(what: str) -> Iterator[Any]:
    """A spinner; gives a function to change its words."""
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=err, transient=True) as progress:
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
