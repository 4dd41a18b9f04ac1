"""Progress: every watcher sees every event once, in order, whether it came before or after."""

from __future__ import annotations

import asyncio

import pytest
from sqlmodel import select

from hub.database import Database
from hub.progress import log, thinning
from hub.progress.log import Progress
from hub.progress.tables import ProgressRecord


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


def test_a_spike_is_seen_in_a_thinned_curve(database: Database) -> None:
    progress = Progress(database)
    progress.append(
        "run-1", "training", metrics=[(step, "loss", 9.0 if step == 777 else 1.0) for step in range(1, 2001)]
    )
    assert max(metric.value for metric in progress.metrics("run-1", limit=50)) == 9.0


def test_a_long_course_has_a_bounded_number_of_rows_and_keeps_its_spike(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_RECENT", 20)
    monkeypatch.setattr(log, "_EVERY", 10)
    for module in (log, thinning):
        monkeypatch.setattr(module, "KEPT", 60)
    monkeypatch.setattr(log, "_MOST", 80)
    for name, value in (("MEASURED", 40), ("TOLD", 10), ("LOGGED", 10)):
        monkeypatch.setattr(thinning, name, value)
    progress, other = Progress(database), Progress(database)
    other.append("run-2", "training", "another's")
    for step in range(1, 301):
        progress.append("run-1", "training", metrics=[(step, "loss", 9.0 if step == 77 else 1.0)])
        progress.append("run-1", "training", f"note {step}" if step % 10 == 0 else f"log: line {step}")
    progress = Progress(database)  # as after a restart
    progress.append("run-1", "training", metrics=[(301, "loss", 1.0)])
    with database.session() as session:
        rows = session.exec(select(ProgressRecord).where(ProgressRecord.subject == "run-1")).all()
    assert len(rows) <= 90
    points = progress.metrics("run-1")
    assert (points[0].step, points[-1].step) == (1, 301)
    assert [metric.step for metric in points if metric.value > 1] == [77]
    messages = [event.message for event in progress.told("run-1")]
    assert [f"note {step}" for step in range(220, 301, 10)] == [said for said in messages if said.startswith("note")][
        -9:
    ]
    assert [event.message for event in progress.told("run-2")] == ["another's"]


def test_a_step_that_was_trained_again_counts_once(database: Database) -> None:
    progress = Progress(database)
    for value in (3.0, 2.0):
        progress.append("run-1", "training", metrics=[(5, "loss", value)])
    assert [(metric.step, metric.value) for metric in progress.metrics("run-1")] == [(5, 2.0)]
