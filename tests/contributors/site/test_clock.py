"""A site whose clock is off is told by how much."""

from __future__ import annotations

import datetime as dt

import pytest

from contributors.site.clock import wrong

NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("hub", "told"),
    [
        ("2026-01-01T12:00:00.000Z", "1 day, 0:00:00 ahead of the hub's"),
        ("2026-01-03T12:00:00.000Z", "1 day, 0:00:00 behind the hub's"),
        ("2026-01-02T11:59:54.000Z", "0:00:06 ahead of"),
        ("2026-01-02T12:05:01.000Z", "0:05:01 behind"),
    ],
)
def test_a_clock_that_the_superlink_does_not_take_is_named(hub: str, told: str) -> None:
    assert told in wrong(hub, NOON)


@pytest.mark.parametrize(
    "hub", ["2026-01-02T12:00:00.000Z", "2026-01-02T11:59:56.000Z", "2026-01-02T12:04:50.000Z", ""]
)
def test_a_clock_that_will_do_is_not_spoken_of(hub: str) -> None:
    assert wrong(hub, NOON) == ""
