"""What the sandbox says is read item by item: a long log fills nobody's memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from hub.evaluation import outputs
from protos.documents.suite_files import read_suite
from tests.hub.evaluation.conftest import CHOICE, suite_files
from trust.errors import Corrupt

END = b'{"failure": ""}\n'
NAMES = ("terms", "again")
SUITE = read_suite(suite_files(tasks=[{**CHOICE, "name": name, "data": "terms.jsonl"} for name in NAMES]))


def log(task: str, count: int) -> bytes:
    sample = {"task": task, "log_likelihoods": [-1.25, -2.5], "lengths": [1, 1], "answer": 0}
    return b"".join(json.dumps({**sample, "item": item}).encode() + b"\n" for item in range(count))


def test_reading_a_log_takes_no_more_memory_than_its_bytes() -> None:
    lines = log("terms", 10_000) + log("again", 10_000) + END
    tracemalloc.start()
    try:
        evaluated = outputs.read(lines, SUITE, dict.fromkeys(NAMES, 10_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [score.items for score in evaluated.scores] == [10_000, 10_000]
    assert evaluated.log.count(b"\n") == 20_000
    assert peak < 3 * len(lines)


@pytest.mark.parametrize(
    "lines",
    [
        log("again", 2) + log("terms", 2),
        log("terms", 2),
        log("terms", 2) + log("again", 3),
        log("terms", 2) + log("again", 1),
    ],
)
def test_tasks_stand_in_their_order_with_all_of_their_items(lines: bytes) -> None:
    items = dict.fromkeys(NAMES, 2)
    assert len(outputs.read(log("terms", 2) + log("again", 2) + END, SUITE, items).scores) == 2
    with pytest.raises(Corrupt, match="not of the suite's items"):
        outputs.read(lines + END, SUITE, items)
