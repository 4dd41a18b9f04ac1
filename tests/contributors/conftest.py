"""A hub in a thread, and members' homes enrolled at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contributors import keychain
from contributors.client import Coalition
from contributors.home import Home
from tests.contributors.served import Hub
from tests.hub.conftest import Base, base, database, database_url  # noqa: F401  (fixtures)


@pytest.fixture
def hub(base: Base, tmp_path: Path) -> Iterator[Hub]:  # noqa: F811
    hub = Hub(base, tmp_path / "homes")
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def home(hub: Hub) -> Home:
    return hub.home("Law Institute")


@pytest.fixture
def client(home: Home) -> Iterator[Coalition]:
    with Coalition(home) as client:
        yield client


@pytest.fixture
def robot(client: Coalition, tmp_path: Path) -> Home:
    """The home of a delegate."""
    return keychain.delegate(client, tmp_path / "robot", "nightly", ["dataset"], 2, 1)
