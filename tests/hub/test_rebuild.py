"""The database is a cache: thrown away and rebuilt from ledger and blobs it says the same, line by line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hub import setup
from hub.database import Database
from hub.dump import NOT_FACTS, dump, projected_tables
from hub.rebuild import rebuild
from hub.settings import Settings
from tests.dashboards import history
from trust.errors import Problem

TABLES_OF_A_FULL_HISTORY = {
    "blob_grant",
    "evaluation",
    "ledger_entry",
    "member",
    "model",
    "rounds_campaign",
    "rounds_consent",
    "rounds_round",
    "submission",
    "training_run",
}


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """A hub with a full history: members, data, suites, a run, a campaign, evaluations."""
    made = setup.create(tmp_path / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=9090)
    url = "" if database_url.startswith("sqlite") else database_url
    settings = made.model_copy(update={"database": url})
    history.fill(settings)
    return settings


def lines(settings: Settings) -> list[bytes]:
    with closing(Database(settings.database_url)) as database:
        return list(dump(database))


def tables(dumped: list[bytes]) -> set[str]:
    return {line.rpartition(b'"table": "')[2].partition(b'"')[0].decode() for line in dumped}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_what_is_rebuilt_equals_what_was_there(settings: Settings) -> None:
    before = lines(settings)
    assert tables(before) >= TABLES_OF_A_FULL_HISTORY
    entries = rebuild(settings)
    assert entries == len([line for line in before if b'"table": "ledger_entry"' in line])
    assert lines(settings) == before
    assert rebuild(settings) == entries
    assert lines(settings) == before


def test_a_head_that_was_durable_and_not_yet_shown_counts(settings: Settings) -> None:
    """The hub died between `.head` and `checkpoint`, and its database has not seen the last entry."""
    shown = (settings.ledger_dir / "checkpoint").read_bytes()
    again = history.History(settings)
    again.enrol("late-comer", "viewer")
    entries = again.base.journal.size
    again.close()
    after = lines(settings)
    (settings.ledger_dir / "checkpoint").write_bytes(shown)
    assert rebuild(settings) == entries
    assert lines(settings) == after


def test_a_hub_goes_on_with_the_rebuilt_database(settings: Settings) -> None:
    entries = rebuild(settings)
    again = history.History(settings)
    again.enrol("late-comer", "viewer")
    assert again.base.journal.size == entries + 1
    again.close()


def test_a_database_full_of_garbage_is_no_hindrance(settings: Settings) -> None:
    if not settings.database_url.startswith("sqlite"):
        pytest.skip("a PostgreSQL database is not a file of ours")
    before = lines(settings)
    path = settings.directory / "database.sqlite"
    path.write_bytes(b"not a database at all" * 1000)
    rebuild(settings)
    assert lines(settings) == before
    assert not list(settings.directory.glob("database.sqlite.*"))


@pytest.mark.parametrize("damaged", ["envelope", "entry", "heads", "no ledger"])
def test_a_damaged_ledger_or_blob_leaves_the_old_database_as_it_was(settings: Settings, damaged: str) -> None:
    before = lines(settings)
    if damaged == "envelope":
        digest = next(line for line in before if b'"kind": "dataset"' in line).partition(b'"envelope": "sha256:')[2]
        name = digest[:64].decode()
        flip(settings.blobs_dir / "sha256" / name[:2] / name)
    elif damaged == "entry":
        bundles = [path for path in (settings.ledger_dir / "tile/entries").rglob("*") if path.is_file()]
        flip(max(bundles, key=lambda path: path.stat().st_size))
    elif damaged == "heads":
        for name in ("checkpoint", ".head"):
            flip(settings.ledger_dir / name)
    else:
        settings.ledger_dir.rename(settings.directory / "ledger-elsewhere")
    with pytest.raises(Problem):
        rebuild(settings)
    assert lines(settings) == before


def test_every_table_that_is_left_out_exists_and_says_why() -> None:
    names = {table.name for table in projected_tables()}
    assert names >= TABLES_OF_A_FULL_HISTORY
    assert not names & set(NOT_FACTS)
    assert all(NOT_FACTS.values())
