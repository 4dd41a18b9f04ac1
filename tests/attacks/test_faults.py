"""Attacks 14, 15 and 36 on real processes. A seeded sample of what `make faults` does to every call."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import setup
from hub.holding import held
from tests.faults import injection
from tests.faults.injection import Point
from tests.faults.trial import Trials, trials

pytestmark = pytest.mark.system

SEED = 20_26
SAMPLE = 15


@pytest.fixture(scope="module")
def faults() -> Iterator[Trials]:
    if reason := injection.unavailable():
        pytest.skip(reason)
    with trials() as prepared:
        yield prepared


def drawn(points: list[Point]) -> list[Point]:
    """A sample in which every scenario and every kind of call has a part."""
    shuffled = random.Random(SEED).sample(points, len(points))
    kinds: dict[tuple[str, str, bool], list[Point]] = {}
    for point in shuffled:
        kinds.setdefault((point.scenario, point.call, bool(point.path)), []).append(point)
    turns = [point for turn in zip(*kinds.values(), strict=False) for point in turn]
    return turns[:SAMPLE] if len(turns) >= SAMPLE else shuffled[:SAMPLE]


def broken(faults: Trials, points: list[Point]) -> list[str]:
    results = [faults.run(point) for point in drawn(points)]
    assert sum(result.outcome == "not reached" for result in results) < SAMPLE / 3
    return [f"{result.point}: {result.why}" for result in results if result.outcome == "broken"]


def test_attack_14_a_kill_at_any_file_system_call_loses_nothing_and_shows_nothing_half(faults: Trials) -> None:
    """`kill -9` in the middle of a submission, an append or a release: after the restart the ledger audits clean and extends
    the old head, what was acknowledged is there, blobs are whole, and the same again gives the same answer."""
    kills = [point for point in faults.points if point.fault == "KILL"]
    assert {point.scenario for point in kills} == {"submission", "append", "release", "rebuild", "purge"}
    assert broken(faults, kills) == []


def test_attack_15_a_failing_or_full_disk_is_refused_or_stops_the_hub_and_harms_nothing(faults: Trials) -> None:
    """EIO and ENOSPC at any call: no acknowledgement that does not hold, a refusal with a reason, and no going on after a
    failed fsync."""
    errors = [point for point in faults.points if point.fault != "KILL"]
    flushes = [point for point in errors if point.call in ("fsync", "fdatasync")]
    assert broken(faults, errors) == []
    assert broken(faults, flushes) == []


def test_attack_36_a_rebuild_beside_a_running_hub_refuses(tmp_path: Path) -> None:
    """`coalition-hub rebuild` would pull the database from under a hub that serves the directory: it ends with a sentence."""
    directory = tmp_path / "hub"
    setup.create(directory, "europe", host="127.0.0.1", bind="127.0.0.1", port=9090)
    with held(directory):
        words = [sys.executable, "-c", "from hub.cli import main; main()", "rebuild", str(directory)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Another process serves" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
