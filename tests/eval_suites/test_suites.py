"""The shipped suites and the published schema: what we give away must pass what we ask of others."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from contributors.packing import pack_suite
from eval_suites import world
from eval_suites.schema import SCHEMA, schema
from protos.documents.suite import SuiteFormat

ROOT = SCHEMA.parent
SUITES = sorted(path.parent for path in ROOT.glob("*/suite.json"))


def test_the_published_schema_is_that_of_the_code() -> None:
    assert SCHEMA.read_text() == schema(), "run `python -m eval_suites.schema`"


@pytest.mark.parametrize("folder", SUITES, ids=lambda folder: folder.name)
def test_a_shipped_suite_is_whole_and_has_a_card(folder: Path) -> None:
    suite, packed = pack_suite(folder)
    assert suite.name == folder.name
    jsonschema.validate(json.loads((folder / "suite.json").read_text()), json.loads(SCHEMA.read_text()))
    card = (folder / "README.md").read_text()
    for task in suite.tasks:
        items = len((folder / task.data).read_text().splitlines())
        assert f"| `{task.name}` | {items} |" in card
    assert {file.path for file in packed.files} == {path.name for path in folder.iterdir()} - {"README.md"}


@pytest.mark.parametrize("folder", SUITES, ids=lambda folder: folder.name)
def test_no_item_stands_twice_and_answers_are_spread(folder: Path) -> None:
    for task in SuiteFormat.model_validate_json((folder / "suite.json").read_bytes()).tasks:
        lines = (folder / task.data).read_text().splitlines()
        assert len(set(lines)) == len(lines)
        if task.kind == "multiple_choice":
            answers = [json.loads(line)[task.answer] for line in lines]
            assert max(answers.count(position) for position in set(answers)) < 0.4 * len(answers)


def test_the_schema_refuses_what_the_code_refuses() -> None:
    good = json.loads((ROOT / "general-world" / "suite.json").read_text())
    wrong = [
        {**good, "process_docs": "!function x.y"},
        {**good, "tasks": [{**good["tasks"][0], "data": "../../etc/passwd"}]},
        {**good, "tasks": [{**good["tasks"][0], "metric": "/home/me/metric.py"}]},
        {**good, "format": "coalition-suite/v2"},
    ]
    for value in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, json.loads(SCHEMA.read_text()))
        with pytest.raises(ValueError, match="validation error"):
            SuiteFormat.model_validate(value)


def test_the_suite_can_be_made_again(tmp_path: Path) -> None:
    try:
        world.write(tmp_path)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    suite, _ = pack_suite(tmp_path)
    assert suite.name == "general-world"
    assert (tmp_path / "aphorisms.jsonl").read_bytes() == (world.FOLDER / "aphorisms.jsonl").read_bytes()
    here = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    world.write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == here
