"""The suite format: what it takes, and the many things that it has no word for."""

from __future__ import annotations

from typing import Any

import pytest

from protos.documents.suite import SuiteFormat, check_row, fill
from trust.errors import Invalid

PROMPTED = {"name": "sums", "data": "sums.jsonl", "prompt": "{text}\nAnswer:"}
SAYS = {**PROMPTED, "kind": "generation", "check": {"how": "exact"}}


def suite(*tasks: dict[str, Any], **more: Any) -> SuiteFormat:
    return SuiteFormat.read(
        {
            "format": "coalition-suite/v1",
            "name": "law-exam",
            "version": "1",
            "domain": "law",
            "licence": "CC-BY-4.0",
            "description": "An exam.",
            "tasks": list(tasks),
            **more,
        }
    )


@pytest.mark.parametrize(
    "task",
    [
        {**PROMPTED, "kind": "multiple_choice"},
        {**PROMPTED, "kind": "log_likelihood", "metric": "greedy_match"},
        {"name": "texts", "kind": "perplexity", "data": "texts.jsonl"},
        SAYS,
        {**SAYS, "fewshot": 2, "max_tokens": 512, "stop": ["\n\n", "Q:"], "check": {"how": "f1", "target": "gold"}},
        {**SAYS, "check": {"how": "numeric", "relative": 0.01, "which": "first"}},
        {**SAYS, "check": {"how": "regex", "pattern": "Answer: (\\w+)", "target": "target"}},
        {**SAYS, "check": {"how": "json_schema", "json_schema": {"type": "array", "items": {"type": "integer"}}}},
    ],
    ids=lambda task: f"{task['kind']}-{task.get('check', {}).get('how', '')}",
)
def test_every_kind_of_task(task: dict[str, Any]) -> None:
    (found,) = suite(task).tasks
    assert found.name == task["name"]
    assert found.metric


def deep(levels: int) -> dict[str, Any]:
    return {"type": "array", "items": deep(levels - 1)} if levels else {"type": "null"}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "{text.__class__}"},
        {"prompt": "{0}"},
        {"max_tokens": 513},
        {"stop": ["x" * 33]},
        {"stop": [str(i) for i in range(9)]},
        {"stop": [""]},
        {"temperature": 1.0},
        {"generation_kwargs": {"custom_generate": "/x"}},
        {"check": {"how": "python", "code": "import os"}},
        {"check": {"how": "regex", "pattern": "(?=x)"}},
        {"check": {"how": "regex", "pattern": r"(a)\1"}},
        {"check": {"how": "regex", "pattern": "("}},
        {"check": {"how": "regex", "pattern": "((((x{1000}){1000}){1000}))"}},
        {"check": {"how": "regex", "pattern": "x" * 201}},
        {"check": {"how": "json_schema", "json_schema": {"$ref": "file:///etc/passwd"}}},
        {"check": {"how": "json_schema", "json_schema": {"type": "string", "pattern": "(a+)+$"}}},
        {"check": {"how": "json_schema", "json_schema": deep(6)}},
        {"check": {"how": "numeric", "relative": 2}},
        {"check": {"how": "json_schema", "json_schema": {"type": "null"}}, "fewshot": 1},
        {"data": "../../etc/passwd"},
    ],
    ids=str,
)
def test_what_the_format_has_no_word_for_is_refused(change: dict[str, Any]) -> None:
    suite(SAYS)
    with pytest.raises(Invalid):
        suite({**SAYS, **change})


@pytest.mark.parametrize(
    ("check", "target", "good"),
    [
        ({"how": "exact"}, "x", True),
        ({"how": "exact"}, ["x", "y"], True),
        ({"how": "exact"}, [], False),
        ({"how": "exact"}, ["x", 1], False),
        ({"how": "f1"}, "", False),
        ({"how": "f1"}, "x" * 2001, False),
        ({"how": "numeric"}, 12, True),
        ({"how": "numeric"}, "12", False),
        ({"how": "numeric"}, True, False),
        ({"how": "numeric"}, 10**400, False),
        ({"how": "numeric"}, float("nan"), False),
        ({"how": "regex", "pattern": "x"}, None, True),
        ({"how": "regex", "pattern": "x", "target": "target"}, None, False),
    ],
)
def test_rows_must_hold_the_target_that_the_check_asks_for(check: dict[str, Any], target: Any, good: bool) -> None:
    (task,) = suite({**SAYS, "check": check}).tasks
    row = {"text": "How many?", "target": target}
    if good:
        check_row(task, row)
    else:
        with pytest.raises(Invalid):
            check_row(task, row)


def test_a_filled_template_is_not_filled_again() -> None:
    assert fill("{a}{b}", {"a": "{b}", "b": "x"}) == "{b}x"
