"""The SuperLink cleans up once in a while, and its database is made for models."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from flwr.supercore import sql_mixin
from flwr.supercore.corestate import sql_corestate
from flwr.supercore.corestate.sql_corestate import SqlCoreState
from flwr.supercore.object_store import object_store_factory
from flwr.supercore.object_store.sql_object_store import SqlObjectStore

from hub.rounds import housekeeping
from hub.rounds.housekeeping import CACHE, LOCKED_SECONDS, LOG, PAGE, STALLED, keep_house, seldom
from hub.rounds.objects import Objects


def test_work_is_done_at_first_and_then_once_in_a_while_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    done: list[str] = []
    clean = seldom(done.append, 1.0)
    one, other = "one", "other"
    clean(one)
    clean(one)
    clean(other)
    now += 0.9
    clean(one)
    assert done == ["one", "other"]
    now += 0.2
    clean(one)
    assert done == ["one", "other", "one"]


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Flower is put back as it was."""
    own = SqlCoreState._cleanup_expired_task_tokens
    monkeypatch.setattr(SqlCoreState, "_cleanup_expired_task_tokens", own)
    monkeypatch.setattr(sql_mixin, "SQLITE_PRAGMAS", sql_mixin.SQLITE_PRAGMAS)
    monkeypatch.setattr(object_store_factory, "SqlObjectStore", SqlObjectStore)
    seconds = sql_corestate.OBJECT_PUSH_SESSION_TTL_SECONDS
    monkeypatch.setattr(sql_corestate, "OBJECT_PUSH_SESSION_TTL_SECONDS", seconds)
    return monkeypatch


def pages(path: Path) -> tuple[int, int, str]:
    store = SqlObjectStore(str(path))
    store.initialize()
    names = ("page_size", "wal_autocheckpoint", "journal_mode")
    size, pages, mode = (next(iter(store.query(f"PRAGMA {name}")[0].values())) for name in names)
    return size, pages * size, mode


@pytest.mark.usefixtures("flower")
def test_a_new_database_has_large_pages_and_one_that_is_there_keeps_its_own(tmp_path: Path) -> None:
    assert pages(tmp_path / "before.db")[0] == 4096
    keep_house()
    assert pages(tmp_path / "after.db") == (PAGE, LOG, "wal")
    assert pages(tmp_path / "before.db")[0] == 4096


@pytest.mark.usefixtures("flower")
def test_its_database_waits_for_updates_that_come_at_once(tmp_path: Path) -> None:
    keep_house()
    store = SqlObjectStore(str(tmp_path / "state.db"))
    store.initialize()
    assert store.query("PRAGMA busy_timeout") == [{"timeout": LOCKED_SECONDS * 1000}]
    assert store.query("PRAGMA cache_size") == [{"cache_size": -CACHE}]
    assert store.query("PRAGMA secure_delete") == [{"secure_delete": 0}]


def test_only_the_version_that_was_looked_at_is_changed(flower: pytest.MonkeyPatch) -> None:
    own, pragmas = SqlCoreState._cleanup_expired_task_tokens, sql_mixin.SQLITE_PRAGMAS
    flower.setattr(housekeeping, "KNOWN", "1.40.")
    keep_house()
    assert (SqlCoreState._cleanup_expired_task_tokens, sql_mixin.SQLITE_PRAGMAS) == (own, pragmas)
    assert object_store_factory.SqlObjectStore is SqlObjectStore
    flower.setattr(housekeeping, "KNOWN", "1.41.")
    keep_house()
    assert SqlCoreState._cleanup_expired_task_tokens.__wrapped__ is own
    assert object_store_factory.SqlObjectStore is Objects
    assert set(pragmas) < set(sql_mixin.SQLITE_PRAGMAS)
    assert sql_corestate.OBJECT_PUSH_SESSION_TTL_SECONDS == STALLED  # since the last part: see `store_object`
