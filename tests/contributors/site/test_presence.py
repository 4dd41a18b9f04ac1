"""A member sits rounds out, and keeps its machines for itself at some hours."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from contributors.site.presence import check_presence, sit_out
from protos.documents.campaigns import SitePolicy
from trust.errors import Denied, Invalid


def at(hour: int) -> datetime:
    return datetime(2026, 1, 1, hour, tzinfo=UTC)


def test_who_sits_out_says_so_until_it_takes_part_again(tmp_path: Path) -> None:
    policy = SitePolicy(data="private")
    check_presence(tmp_path, policy)
    sit_out(tmp_path, out=True)
    with pytest.raises(Denied, match="sits the round out"):
        check_presence(tmp_path, policy)
    for _ in range(2):
        sit_out(tmp_path, out=False)
    check_presence(tmp_path, policy)


@pytest.mark.parametrize(
    ("hours", "trains", "rests"), [("08:00-17:00", (8, 16), (7, 17)), ("22:00-06:00", (22, 0, 5), (6, 12, 21))]
)
def test_a_site_trains_at_its_hours(
    hours: str, trains: tuple[int, ...], rests: tuple[int, ...], tmp_path: Path
) -> None:
    policy = SitePolicy(data="private", hours=hours)
    for hour in trains:
        check_presence(tmp_path, policy, at(hour))
    for hour in rests:
        with pytest.raises(Denied, match=f"trains at {hours} UTC alone"):
            check_presence(tmp_path, policy, at(hour))


@pytest.mark.parametrize("hours", ["8-17", "24:00-06:00", "22:00", "22:00-06:60"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(Invalid, match="hours"):
        SitePolicy.read({"data": "private", "hours": hours})
