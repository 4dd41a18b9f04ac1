"""The database thrown away and made anew from ledger and blobs. The old one stays untouched until the new one is whole."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

from hub.database import Database
from hub.evaluation import store
from hub.foundation import Foundation
from hub.holding import held
from hub.ledger.heads import Heads
from hub.server import register_projections
from hub.settings import Settings
from trust.audit import verify_log
from trust.errors import Corrupt, NotFound, Problem, Unavailable
from trust.files import sync_folder
from trust.keys import LogKey, LogPublicKey

_log = logging.getLogger(__name__)
_SCHEMA = "coalition_rebuilding"
_ASIDE = "coalition_before_rebuild"


def rebuild(settings: Settings) -> int:
    """Replace the database by what the ledger says; answers with the number of entries. The hub must not be running.

    The ledger is audited first. Raises `NotFound` where there is none, `Corrupt` when it or a blob that it names is
    damaged; the old database is then as it was. Raises `Conflict` when the hub is running, `Unavailable` when the disk or
    PostgreSQL fails.
    """
    try:
        with held(settings.directory):
            return _rebuild(settings)
    except (OSError, SQLAlchemyError, sqlite3.Error) as error:
        raise Unavailable(
            f"The database could not be rebuilt: {str(error).splitlines()[0]}.", "Check the disk, then rebuild again."
        ) from None


def _rebuild(settings: Settings) -> int:
    entries = _audited_size(settings)
    place = _place(settings.database_url)
    url = place.prepare()
    try:
        replayed = _replay(settings, url)
        if replayed != entries:
            raise Corrupt(f"The ledger has {entries} entries, and {replayed} were replayed.", "Is a hub running?")
    except BaseException:
        place.discard()
        raise
    place.replace()
    return entries


@dataclass(frozen=True)
class _Files:
    """The log's files, for the auditor, and the head that counts: the hub may have died before it showed it."""

    directory: Path
    key: LogPublicKey

    def read_tile(self, path: str) -> bytes:
        try:
            return (self.directory / path).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"The ledger has no {path}.") from None

    def read_tree_head(self) -> bytes:
        return Heads(self.directory, self.key).newest()[0]


def _audited_size(settings: Settings) -> int:
    """A missing ledger is an error here: an empty one would throw every fact away."""
    settings.must_have_served()
    key = LogKey.load(settings.log_key).public
    return verify_log(_Files(settings.ledger_dir, key), key).head.size


def _replay(settings: Settings, url: str) -> int:
    base = Foundation.open(settings.model_copy(update={"database": url}))
    try:
        register_projections(base.journal)
        base.journal.start()
        base.journal.stop()
        _seal_logs(base)
        return base.journal.size
    finally:
        base.database.close()
        base.blobs.close()


def _seal_logs(base: Foundation) -> None:
    """Logs of sealed suites that were written before such logs were sealed."""
    with base.database.session() as session:
        logs = store.secret_logs(session)
    for log in logs:
        try:
            base.blobs.seal(log)
        except Problem as problem:  # lost, or no seal key: scrubbing tells; the database is made anew all the same
            _log.warning("the log %s of a sealed suite was not sealed: %s", log, problem.what)


class _Place(Protocol):
    """Where a database lies."""

    def prepare(self) -> str:
        """The URL of an empty database beside the old one."""

    def replace(self) -> None:
        """Put the new one in the place of the old one, which is dropped."""

    def discard(self) -> None:
        """Drop the new one."""


def _place(url: str) -> _Place:
    parsed = make_url(url)
    return _Sqlite(Path(str(parsed.database))) if parsed.get_backend_name() == "sqlite" else _Postgres(url)


@dataclass(frozen=True)
class _Sqlite:
    """A file with its write-ahead log. A crash in `replace` leaves no database, which the next start makes anew.

    Every attempt has a file name of its own: a connection of a failed one that is closed late removes its log by name.
    """

    path: Path
    attempt: str = field(default_factory=lambda: secrets.token_hex(4))

    def prepare(self) -> str:
        for left in self.path.parent.glob(f"{self.path.name}.rebuilding-*"):
            left.unlink(missing_ok=True)
        return f"sqlite:///{self._fresh}"

    def replace(self) -> None:
        _fold(self._fresh)
        if self.path.exists():
            with suppress(sqlite3.DatabaseError):  # damaged: it is thrown away as it is
                _fold(self.path)
        aside = self._beside("before-rebuild")
        for suffix in ("-wal", "-shm", ""):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self._fresh.rename(self.path)
        sync_folder(self.path.parent)
        _remove(aside)

    def discard(self) -> None:
        _remove(self._fresh)

    @property
    def _fresh(self) -> Path:
        return self._beside(f"rebuilding-{self.attempt}")

    def _beside(self, word: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{word}")


def _fold(path: Path) -> None:
    """From now on the file alone holds everything, without its write-ahead log. Raises `sqlite3.DatabaseError`."""
    with closing(sqlite3.connect(path)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
    if mode != "delete":
        raise sqlite3.OperationalError(f"{path.name} keeps its write-ahead log")


def _remove(path: Path) -> None:
    for suffix in ("-wal", "-shm", ""):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@dataclass(frozen=True)
class _Postgres:
    """Tables in a schema; the new ones change places with the old ones in one transaction."""

    url: str

    def prepare(self) -> str:
        self._run(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE", f"CREATE SCHEMA {_SCHEMA}")
        options = {"options": f"-csearch_path={_SCHEMA}"}
        return make_url(self.url).update_query_dict(options).render_as_string(hide_password=False)

    def replace(self) -> None:
        tables = [*SQLModel.metadata.tables, "alembic_version"]
        schema = self._schema()
        self._run(
            f"CREATE SCHEMA {_ASIDE}",
            *(f'ALTER TABLE IF EXISTS "{schema}"."{table}" SET SCHEMA {_ASIDE}' for table in tables),
            *(f'ALTER TABLE {_SCHEMA}."{table}" SET SCHEMA "{schema}"' for table in tables),
            f"DROP SCHEMA {_SCHEMA} CASCADE",
            f"DROP SCHEMA {_ASIDE} CASCADE",
        )

    def discard(self) -> None:
        self._run(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")

    def _schema(self) -> str:
        with closing(Database(self.url)) as database, database.session() as session:
            return str(session.connection().execute(text("SELECT current_schema()")).scalar_one())

    def _run(self, *statements: str) -> None:
        with closing(Database(self.url)) as database, database.session() as session:
            for statement in statements:
                session.connection().execute(text(statement))
