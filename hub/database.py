"""The database: SQLite in the hub's directory, or PostgreSQL by URL. A projection of the ledger, and nothing more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlmodel import Session, create_engine

from hub.fuse import Fuse

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FATAL = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
_KNOWN = {
    sqlite3.SQLITE_BUSY: "The database is locked by another process. Stop that one, or try again later.",
    sqlite3.SQLITE_LOCKED: "The database is locked by another process. Stop that one, or try again later.",
    sqlite3.SQLITE_READONLY: "The database can only be read. Check whose its file and folder are, and their permissions.",
    sqlite3.SQLITE_CANTOPEN: "The database cannot be opened. Check whose its file and folder are, and their permissions.",
    sqlite3.SQLITE_PERM: "The database cannot be opened. Check whose its file and folder are, and their permissions.",
}
_NO_TABLE = "42P01"  # PostgreSQL's SQLSTATE for an undefined table
_MIGRATING = 0x6D696772  # an advisory lock of PostgreSQL: any number that nobody else uses in this database
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """One engine; `session()` is a transaction. A disk that fails under SQLite blows the fuse."""

    def __init__(self, url: str, fuse: Fuse | None = None) -> None:
        self._fuse = fuse or Fuse()
        self.url = _with_driver(url)
        sqlite = self.url.startswith("sqlite")
        arguments: dict[str, Any] = {"connect_args": {"timeout": 30}} if sqlite else {"pool_pre_ping": True}
        self.engine = create_engine(self.url, hide_parameters=True, **arguments)  # values stay out of errors and logs
        if sqlite:
            _prepare_sqlite(self.engine)

    @contextmanager
    def session(self, *, writing: bool = False) -> Iterator[Session]:
        """A transaction: committed at the end of the block, rolled back when it raises.

        `writing` takes SQLite's write lock at once: needed by a transaction that reads before it writes, which otherwise
        fails when somebody else wrote in between. Raises `Unavailable` when the disk under SQLite failed.
        """
        engine = self.engine.execution_options(writing=writing)
        with self._trusted(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _trusted(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if code in _DAMAGED:
                raise self._fuse.blow(f"{error.orig}: make it anew with `coalition-hub rebuild`") from None
            if code in _FATAL:
                raise self._fuse.blow(f"the database: {error.orig}") from None
            raise

    def migrate(self) -> None:
        """Bring the schema to the newest revision; of several processes that start at once, one does it.

        Raises `Unavailable` when the disk under SQLite failed.
        """
        configuration = Config()
        configuration.set_main_option("script_location", str(_MIGRATIONS))
        with self._trusted(), self.engine.connect() as connection:
            configuration.attributes["connection"] = connection
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            command.upgrade(configuration, "head")

    def close(self) -> None:
        self.engine.dispose()


def explained(error: Exception) -> str | None:
    """What a failure of the database means for who runs a command, in a sentence; None for any other failure."""
    if isinstance(error, CommandError):
        return f"The database is of another version of this software: {error} Run the version that wrote it, or a newer one."
    if not isinstance(error, SQLAlchemyError | sqlite3.Error):
        return None
    origin = getattr(error, "orig", None) or error
    text = str(origin).splitlines()[0]
    if text.startswith("no such table") or getattr(origin, "sqlstate", "") == _NO_TABLE:
        return "The database holds nothing yet. Serve the hub once."
    known = _KNOWN.get(getattr(origin, "sqlite_errorcode", 0) & 0xFF)
    return known or f"The database refused: {text}. Check that it runs, and `database` in hub.toml."


def _with_driver(url: str) -> str:
    """`postgresql://` means the psycopg 3 driver, which is the one we install."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _prepare_sqlite(engine: Engine) -> None:
    """Durable commits, readers beside the writer, and transactions that SQLAlchemy begins itself.

    The driver's own BEGIN comes too late for savepoints (SQLAlchemy documentation, "Serializable isolation / Savepoints").
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
