"""The submissions room with two members."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.conftest import Base
from tests.hub.submissions.room import OTHERS, US, Room


@pytest.fixture
def room(base: Base, tmp_path: Path) -> Iterator[Room]:
    for member in (US, OTHERS):
        base.enrol(member)
    room = Room.of(base, tmp_path / "screening")
    yield room
    room.screener.stop()
