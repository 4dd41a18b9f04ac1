"""The live view of a run: what it makes of events, and what a person reads."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from contributors.cli.live import Heard, duration, picture, sparkline
from protos.coalition.v1.common_pb2 import Metric, ProgressEvent


def report(step: int, seconds: int, **metrics: float) -> ProgressEvent:
    """A worker's, so many seconds into the minute."""
    named = [Metric(step=step, name=name.replace("__", "/"), value=value) for name, value in metrics.items()]
    return ProgressEvent(phase="training", time=f"2026-01-01T00:00:{seconds:02}.000Z", metrics=named)


def shown(heard: Heard) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(picture(heard))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_person_reads_losses_speed_time_left_and_nodes() -> None:
    heard = Heard(100)
    heard.hear(
        report(10, 5, loss=4.0, loss__law=4.5, loss__code=3.5, tokens_per_second=12_000, mfu=0.41, learning_rate=1e-3)
    )
    heard.hear(report(10, 6, held_out_loss=4.2))
    heard.hear(report(20, 15, loss=3.0, loss__law=3.25, loss__code=2.75, tokens_per_second=12_345, mfu=0.415))
    heard.nodes = ("node-1", "node-2")
    text = shown(heard)
    assert "training  step 20 of 100, 1 min 20 s left" in text
    assert "loss      █▁ 3.0000  (code 2.7500, law 3.2500)" in text
    assert "held out  4.2000" in text
    assert "12,345 tokens/s, MFU 41.5%" in text
    assert "node-1, node-2" in text


def test_before_anything_is_reported_there_is_a_state_and_no_number() -> None:
    heard = Heard(100)
    heard.hear(ProgressEvent(phase="queued", message="waits"))
    assert "queued" in shown(heard)
    assert "loss" not in shown(heard)
    assert heard.left is None


def test_a_run_that_went_back_shows_the_new_course_and_its_pace() -> None:
    heard = Heard(100)
    for step, second, loss in ((10, 1, 3.0), (20, 2, 9.0), (10, 3, 2.9), (15, 8, 2.5)):
        heard.hear(report(step, second, loss=loss))
    assert heard.losses == {10: 2.9, 15: 2.5}
    assert heard.left == 85


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    heard = Heard(1)
    heard.nodes = ("node\x1b[2J",)
    assert "\x1b" not in shown(heard)


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([1.0], "▁"), ([0, 7], "▁█"), ([8, 8, 1, 1], "█▁"), ([0, 1, 2, 3, 4, 5, 6, 7], "▁█")]
)
def test_a_sparkline_goes_from_the_lowest_to_the_highest(values: list[float], line: str) -> None:
    assert sparkline(values, 2) == line


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (65, "1 min 5 s"), (3 * 3600 + 120, "3 h 2 min"), (90_000, "1 d 1 h")]
)
def test_durations_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words
