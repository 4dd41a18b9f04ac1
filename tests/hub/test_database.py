"""Failures of the database as who runs a command reads them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from hub.database import Database, explained


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "database.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE thing (id)")
    return path


def failure(path: str, statement: str) -> str:
    with pytest.raises(sqlite3.Error) as failed:
        sqlite3.connect(path, uri=True, timeout=0).execute(statement)
    return explained(failed.value) or ""


def test_a_database_that_can_only_be_read(file: Path) -> None:
    assert "can only be read" in failure(f"file:{file}?mode=ro", "INSERT INTO thing VALUES (1)")


def test_a_database_that_another_process_holds(file: Path) -> None:
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert "locked by another process" in failure(f"file:{file}", "SELECT * FROM thing")


def test_a_database_of_a_hub_that_never_served(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    with pytest.raises(SQLAlchemyError) as failed, database.session() as session:
        session.connection().exec_driver_sql("SELECT * FROM submission")
    assert explained(failed.value) == "The database holds nothing yet. Serve the hub once."


def test_a_server_that_is_not_there() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(SQLAlchemyError) as failed, database.session() as session:
        session.connection()
    said = explained(failed.value) or ""
    assert said.startswith("The database refused: ")
    assert "\n" not in said


def test_what_is_not_of_the_database_is_left_to_others() -> None:
    assert explained(KeyError("x")) is None
