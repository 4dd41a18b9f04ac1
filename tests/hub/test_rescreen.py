"""After a new suite came, what was accepted before it is screened again and its owner is told."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hub import setup
from hub.holding import held
from hub.rescreen import rescreen
from hub.settings import Settings
from protos.documents.submissions import Dataset, DatasetFile, Suite
from tests.dashboards.history import History
from tests.hub.submissions.test_intake import SHARD, TEXTS, suite_files
from trust.errors import Conflict

NAMES = {"domain": "law", "licence": "CC-BY-4.0"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return setup.create(tmp_path / "hub", "europe", host="127.0.0.1", bind="127.0.0.1", port=9090)


def accepted_before_its_suite(settings: Settings) -> str:
    """A ledger with a dataset, then a suite with one of its rows; neither was screened for the other."""
    with closing(History(settings)) as history:
        history.enrol("law-institute", "contributor")
        shard = DatasetFile(**history.file("data.jsonl", SHARD).model_dump(), rows=5)
        who = {"hub": history.hub, "signer": "law-institute", **NAMES}
        dataset = history.record(Dataset(**who, name="contracts", provenance="own archive", rows=5, files=(shard,)))
        files = tuple(history.file(path, data) for path, data in suite_files(TEXTS[2]).items())
        history.record(Suite(**who, name="law-exam", version="1", files=files))
    return dataset


@pytest.mark.system
def test_a_suite_that_came_later_is_told_to_the_owner_of_the_dataset(settings: Settings) -> None:
    dataset = accepted_before_its_suite(settings)
    told: list[tuple[int, int]] = []
    found = {finding.rule: finding for finding in rescreen(settings, lambda *how_far: told.append(how_far))[dataset]}
    assert told == [(1, 1)]
    assert found["contamination"].severity == "warning"
    assert "law-institute/law-exam 1" in found["contamination"].message


def test_a_hub_that_runs_is_left_alone(settings: Settings) -> None:
    with held(settings.directory), pytest.raises(Conflict, match="Another process"):
        rescreen(settings)
