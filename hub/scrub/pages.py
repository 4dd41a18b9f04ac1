"""The database in its file: whether SQLite finds its pages in order, and whether it says what the ledger says.

SQLite keeps no checksums of its pages. A changed byte that leaves a page well-formed shows only in what the page says, so that
is compared with a second database, made anew from the ledger.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import Table

from hub.database import Database
from hub.dump import projected_tables
from hub.ledger.journal import Journal
from hub.scrub.findings import Damage, Step, Walk

Project = Callable[[Database], Journal]
"""Of the hub's ledger, a journal that projects into another database."""

GROUP = 256
"""Entries that are replayed in one step."""
CHASES = 3
"""How often what came in the meantime is replayed step by step, before the last of it is replayed at once."""
SHOWN = 3
"""Rows of a table that are told one by one."""
_KEY = 200
"""Characters of a row's key that are shown."""


def walk_pages(path: Path, after: str = "") -> Walk:
    """Table by table, behind the table `after`: the order of its pages, and that its indices say what its rows say.

    Pages that belong to no table hold nothing.
    """
    if not path.is_file():
        yield Step(after, 0, (Damage("database", path.name, "is missing"),))
        return
    try:
        tables = _tables(path)
    except sqlite3.DatabaseError as error:
        yield Step(after, 0, (Damage("database", path.name, f"cannot be read: {error}"),))
        return
    share = path.stat().st_size // max(1, len(tables))
    for table in tables:
        if table > after:
            yield Step(
                table, share, tuple(Damage("database", table, f"is damaged: {told}") for told in _told(path, table))
            )


def _tables(path: Path) -> list[str]:
    with closing(_reading(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return sorted(str(name) for (name,) in rows)


def _told(path: Path, table: str) -> list[str]:
    try:
        with closing(_reading(path)) as connection:
            told = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_quoted(table)})")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if told == ["ok"] else [" ".join(told[0].split())]


def walk_facts(path: Path, project: Project, beside: Path) -> Walk:
    """Replay the ledger into a database in the folder `beside`, which is dropped afterwards, and compare the two.

    Reads only what was committed; the hub may go on. Raises what a damaged ledger or envelope raises, and
    `sqlite3.DatabaseError` for a database that cannot be read.
    """
    _drop(beside)
    beside.mkdir(exist_ok=True)
    try:
        yield from _compared(path, project, beside / "replayed.sqlite")
    finally:
        _drop(beside)


def _compared(path: Path, project: Project, fresh: Path) -> Walk:
    with closing(Database(f"sqlite:///{fresh}")) as database:
        database.migrate()
        journal = project(database)
        replayed, before = 0, 0
        for _ in range(CHASES):
            count = _entries(path)
            for start in range(replayed, count, GROUP):
                journal.replay(min(start + GROUP, count))
                size = fresh.stat().st_size
                yield Step("", max(0, size - before))
                before = size
            replayed = count
        with closing(_reading(path)) as connection:
            connection.execute("ATTACH ? AS replayed", (_uri(fresh),))
            connection.execute("BEGIN")
            journal.replay(_count(connection))  # what came in the meantime; the transaction sees no more
            for table in projected_tables():
                yield Step("", 0, tuple(_different(connection, table)))


def _different(connection: sqlite3.Connection, table: Table) -> Iterator[Damage]:
    """Rows that one of the databases has and the other has not, by their keys."""
    keys = [column.name for column in table.primary_key]
    columns = ", ".join(map(_quoted, [*keys, *(column.name for column in table.columns if column.name not in keys)]))
    for here, there, what in (
        ("main", "replayed", "says what the ledger does not say"),
        ("replayed", "main", "lacks what the ledger says"),
    ):
        select = f"SELECT {columns} FROM {{}}.{_quoted(table.name)}"  # noqa: S608  (names of our own tables)
        for row in connection.execute(f"{select.format(here)} EXCEPT {select.format(there)} LIMIT {SHOWN}"):
            key = ", ".join(f"{name} {value!r}" for name, value in zip(keys, row, strict=False))
            yield Damage("database", table.name, f"{what}: {key:.{_KEY}}")


def _entries(path: Path) -> int:
    with closing(_reading(path)) as connection:
        return _count(connection)


def _count(connection: sqlite3.Connection) -> int:
    """Entries of the ledger that the database knows."""
    (newest,) = connection.execute('SELECT MAX("index") FROM ledger_entry').fetchone()
    return 0 if newest is None else int(newest) + 1


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(_uri(path), uri=True, timeout=30, isolation_level=None, check_same_thread=False)


def _uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _drop(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
