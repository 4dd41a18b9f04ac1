"""Fair shares and the order of the queue."""

from __future__ import annotations

import pytest

from hub.training.placement.shares import AGEING, HALF_LIFE, Usage, Use, in_order, shares, used
from hub.training.placement.values import Job, Needs


def test_use_counts_and_is_forgotten_by_halves() -> None:
    used = Usage().later({"x": 10}, 100.0)
    assert used.amounts["x"] == 1000
    assert used.later({}, 100.0 + HALF_LIFE).amounts["x"] == pytest.approx(500)


def test_what_was_used_follows_from_the_records_alone() -> None:
    uses = [Use("x", 1000.0, 0.0), Use("y", 60.0, HALF_LIFE), Use("x", 100.0, HALF_LIFE)]
    for order in (uses, uses[::-1]):
        found = used(order, HALF_LIFE)
        assert found.amounts == pytest.approx({"x": 600.0, "y": 60.0})
        assert found.at == HALF_LIFE
    assert used(uses, HALF_LIFE).later({}, 2 * HALF_LIFE).amounts == pytest.approx(used(uses, 2 * HALF_LIFE).amounts)


def test_a_share_is_half_where_a_project_has_had_its_part_and_less_where_more() -> None:
    assert shares(Usage({"x": 5.0, "y": 5.0}), "xy") == {"x": 0.5, "y": 0.5}
    uneven = shares(Usage({"x": 9.0, "y": 1.0}), "xyz")
    assert uneven["x"] < 0.5 < uneven["y"] < uneven["z"] == 1.0
    assert shares(Usage(), "xy") == {"x": 1.0, "y": 1.0}


def test_priority_comes_before_shares_and_waiting_outgrows_both() -> None:
    now = 10 * AGEING
    old = Job("old", Needs(1), "greedy", 0, now - 3.5 * AGEING)
    high = Job("high", Needs(1), "greedy", 2, now)
    poor = Job("poor", Needs(1), "modest", 0, now)
    assert [job.name for job in in_order([poor, high, old], {"greedy": 0.1, "modest": 1.0}, now)] == [
        "old",
        "high",
        "poor",
    ]
