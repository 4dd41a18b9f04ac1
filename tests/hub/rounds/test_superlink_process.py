"""What the SuperLink's process changes in Flower before it serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.supercore import sql_mixin
from flwr.supercore.object_store.sql_object_store import SqlObjectStore

from hub.rounds.superlink_process import LOCKED_SECONDS, wait_for_the_database


def test_its_database_waits_for_updates_that_come_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_mixin, "SQLITE_PRAGMAS", sql_mixin.SQLITE_PRAGMAS)  # as it was, afterwards
    wait_for_the_database()
    store = SqlObjectStore(str(tmp_path / "state.db"))
    store.initialize()
    assert store.query("PRAGMA busy_timeout") == [{"timeout": LOCKED_SECONDS * 1000}]
