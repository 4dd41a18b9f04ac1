"""The site's processes look for work often at first, and seldom when there was none for long."""

from __future__ import annotations

import time

import pytest

from contributors.site.pace import SHORTEST, Pace


def test_a_pause_is_a_twentieth_of_the_wait_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace(0.5)
    assert pace.pause() == SHORTEST
    now += 4
    assert pace.pause() == pytest.approx(0.2)
    now += 3600
    assert pace.pause() == 0.5
    pace.restart()
    assert pace.pause() == SHORTEST
