"""Who stands by for an attempt serves that one alone, and only if it was started for such a one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from hub.training.launch import Child, worker_environment
from hub.training.standby import Standby
from hub.training.warm import FOLDER
from hub.training.workplace import Workplace

ENVIRONMENT = worker_environment(1, True)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Of an agent that has worked on an attempt."""
    (tmp_path / "tls").mkdir()
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        workplace = Workplace(tmp_path, channel, show_key=True)
        workplace.attempt_folder("run-1", 1)
        return workplace


@pytest.fixture
async def standby(place: Workplace) -> AsyncIterator[tuple[Standby, list[Child]]]:
    """One process is warmed up; nobody waits until it is."""
    made = Standby()
    await made.start(1, ENVIRONMENT, place)
    children = list(made._waiting)
    yield made, children
    for child in children:
        await child.kill()


async def test_a_set_is_started_once_and_serves_one_attempt(
    place: Workplace, standby: tuple[Standby, list[Child]]
) -> None:
    waiting, (child,) = standby
    await waiting.start(1, ENVIRONMENT, place)
    assert waiting._waiting == [child]
    taken = await waiting.take(1, {**ENVIRONMENT, "TMPDIR": "/of/another/attempt"})
    assert Path(taken[FOLDER]).is_dir()
    assert child.running
    assert await waiting.take(1, ENVIRONMENT) == {}
    assert not child.running, "what served the attempt before does not outlive it"


@pytest.mark.parametrize(("processes", "changed"), [(2, {}), (1, {"OMP_NUM_THREADS": "7"})])
async def test_a_set_that_does_not_fit_is_ended(
    standby: tuple[Standby, list[Child]], processes: int, changed: dict[str, str]
) -> None:
    waiting, (child,) = standby
    assert await waiting.take(processes, ENVIRONMENT | changed) == {}
    assert not child.running
