"""What the SuperLink does at every request by itself is done once in a while."""

from __future__ import annotations

import time

import pytest
from flwr.supercore.corestate import sql_corestate

from hub.rounds.housekeeping import EVERY, keep_house_seldom, seldom


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


def test_only_the_version_that_was_looked_at_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    own = sql_corestate.SqlCoreState._cleanup_expired_task_tokens
    monkeypatch.setattr(sql_corestate.SqlCoreState, "_cleanup_expired_task_tokens", own)  # put back afterwards
    monkeypatch.setattr("hub.rounds.housekeeping.KNOWN", "1.40.")
    keep_house_seldom()
    assert sql_corestate.SqlCoreState._cleanup_expired_task_tokens is own
    monkeypatch.setattr("hub.rounds.housekeeping.KNOWN", "1.41.")
    keep_house_seldom()
    assert sql_corestate.SqlCoreState._cleanup_expired_task_tokens.__wrapped__ is own
    assert EVERY < 5  # a site's process counts as gone after 30 s
