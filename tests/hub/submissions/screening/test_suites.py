"""What of a suite is looked for: every text of its items, and short items as a text would hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from hub.submissions.screening import suites
from hub.submissions.screening.contamination import Grams, Overlap
from hub.submissions.screening.jobs import SuiteFile, SuiteGrams, SuiteReading
from hub.submissions.screening.words import Batch
from protos.documents import suite_files

EXACT = {"how": "exact", "target": "target"}
SHORT: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "choice": (
        {"kind": "multiple_choice", "prompt": "Question: {question}\nAnswer:"},
        {"question": "Which river flows through Cologne?", "choices": ["the Elbe", "the Rhine"], "answer": 1},
        "question: Which river flows through Cologne? Answer: the Rhine",
    ),
    "target": (
        {"kind": "log_likelihood", "prompt": "{question}"},
        {"question": "Which river flows through Cologne?", "target": "the old Rhine"},
        "He asked: which river flows through Cologne? The old Rhine.",
    ),
    "check": (
        {"kind": "generation", "prompt": "Q: {question} A:", "check": EXACT},
        {"question": "Which river flows through Cologne?", "target": ["the old Rhine", "Rhine"]},
        "which river flows through Cologne - the old Rhine",
    ),
}


def files(row: dict[str, object], *tasks: dict[str, object]) -> dict[str, bytes]:
    form = {
        "format": "coalition-suite/v1",
        "name": "exam",
        "version": "1",
        "domain": "rivers",
        "licence": "MIT",
        "description": "Rivers.",
        "tasks": [{"name": f"task-{number}", "data": "items.jsonl", **task} for number, task in enumerate(tasks)],
    }
    return {"suite.json": json.dumps(form).encode(), "items.jsonl": json.dumps(row).encode() + b"\n"}


def reading(folder: Path, suite: dict[str, bytes]) -> SuiteReading:
    parts = tuple(SuiteFile(name=name, size=len(body)) for name, body in suite.items())
    return SuiteReading(
        id="suite-1",
        licence="MIT",
        files=parts,
        grams=SuiteGrams(id="suite-1", suite="exam", path=str(folder / "grams.npz")),
    )


@pytest.mark.parametrize("kind", SHORT)
def test_a_short_item_is_looked_for_with_its_answer(tmp_path: Path, kind: str) -> None:
    task, row, leaked = SHORT[kind]
    suite = files(row, task)
    assert [finding.severity for finding in suites.read(reading(tmp_path, suite), suite)] == ["info"]
    overlap = Overlap(Grams.load(tmp_path / "grams.npz"))
    assert overlap.grams.too_short() == 0
    batch = Batch(["Which river flows through Cologne? Nobody knew.", f"x {leaked} x"])
    overlap.remember(overlap.look(batch), 0)
    assert overlap.first == [1]


def test_a_file_that_many_tasks_name_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, row, _ = SHORT["target"]
    suite = files(row, *[task] * 50)
    parsed: list[int] = []
    check = suite_files._json_lines

    def counted(file: IO[bytes], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        parsed.append(1)
        return check(file, name)

    monkeypatch.setattr(suite_files, "_json_lines", counted)
    (finding,) = suites.read(reading(tmp_path, suite), suite)
    assert finding.message == "50 tasks with 1 rows read."
    assert parsed == [1]


@pytest.mark.parametrize(
    ("name", "limit", "why"),
    [("MAX_SUITE", 100, "bytes; 100 are allowed"), ("MAX_ITEMS", 1, "The suite has more than 1 items.")],
)
def test_a_suite_over_a_limit_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, why: str
) -> None:
    monkeypatch.setattr(suite_files, name, limit)
    task, row, _ = SHORT["target"]
    suite = files(row, task, task)
    (finding,) = suites.read(reading(tmp_path, suite), suite)
    assert finding.severity == "reject"
    assert why in finding.message
    assert not (tmp_path / "grams.npz").exists()
