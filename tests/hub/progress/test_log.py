"""Progress: every watcher sees every event once, in order, whether it came before or after."""

from __future__ import annotations

import asyncio

from hub.database import Database
from hub.progress.log import Progress


async def test_a_watcher_sees_the_past_then_the_present_up_to_the_end(database: Database) -> None:
    progress = Progress(database)
    progress.append("run-1", "queued", "waiting")
    seen: list[str] = []

    async def watch() -> None:
        async for event in progress.watch("run-1"):
            seen.append(event.phase)

    watching = asyncio.create_task(watch())
    while not seen:
        await asyncio.sleep(0)
    await asyncio.to_thread(progress.append, "run-2", "training", "another's")
    await asyncio.to_thread(progress.append, "run-1", "training", "", [(5, "loss", 2.5)])
    await asyncio.to_thread(progress.append, "run-1", "finished", "", (), True)
    await asyncio.wait_for(watching, 20)
    assert seen == ["queued", "training", "finished"]


async def test_a_watcher_resumes_after_the_last_event_it_saw(database: Database) -> None:
    progress = Progress(database)
    for phase in ("queued", "training"):
        progress.append("run-1", phase)
    progress.append("run-1", "finished", terminal=True)
    events = [event async for event in progress.watch("run-1")]
    rest = [event.phase async for event in progress.watch("run-1", after=events[0].sequence)]
    assert rest == ["training", "finished"]


def test_what_was_told_last_comes_oldest_first_without_measurements(database: Database) -> None:
    progress = Progress(database)
    for number in range(5):
        progress.append("run-1", "training", f"note {number}", [(number, "loss", 1.0)])
        progress.append("run-1", "training", "", [(number, "loss", 1.0)])
    progress.append("run-2", "training", "another's")
    told = progress.told("run-1", limit=3)
    assert [event.message for event in told] == ["note 2", "note 3", "note 4"]
    assert not any(event.metrics for event in told)


def test_curves_are_thinned_but_keep_their_ends(database: Database) -> None:
    progress = Progress(database)
    progress.append("run-1", "training", metrics=[(step, "loss", 1 / step) for step in range(1, 1001)])
    points = progress.metrics("run-1", limit=100)
    assert len(points) <= 100
    assert (points[0].step, points[-1].step) == (1, 1000)


def test_a_step_that_was_trained_again_counts_once(database: Database) -> None:
    progress = Progress(database)
    for value in (3.0, 2.0):
        progress.append("run-1", "training", metrics=[(5, "loss", value)])
    assert [(metric.step, metric.value) for metric in progress.metrics("run-1")] == [(5, 2.0)]
