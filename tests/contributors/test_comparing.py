"""`coalition eval compare`: two models of a real hub, by the items that both answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hub.evaluation import projection
from hub.evaluation.outputs import scores_of
from hub.ledger.entries import Entry
from protos.documents.evaluations import Sample
from protos.documents.suite_files import read_suite
from tests.contributors.cli.conftest import Coalition, coalition
from tests.contributors.conftest import base, database, database_url, hub
from tests.contributors.served import Hub
from tests.hub.conftest import Base
from tests.hub.evaluation.conftest import CHOICE, record_evaluation, record_suite, suite_files
from tests.hub.models.conftest import record_model

__all__ = ["base", "coalition", "database", "database_url", "hub"]
FILES = suite_files(tasks=[{"name": "terms", "data": "terms.jsonl", **CHOICE}])
ITEMS = 12


def answered(right: Sequence[int]) -> list[Sample]:
    """A log of the suite's twelve questions, those numbered in `right` answered rightly."""
    return [
        Sample(
            task="terms",
            item=item,
            log_likelihoods=tuple(-1.0 if choice == (item + (item not in right)) % 4 else -90.0 for choice in range(4)),
            lengths=(5, 5, 5, 5),
            answer=item % 4,
        )
        for item in range(ITEMS)
    ]


def evaluate(base: Base, model: str, suite: Entry, samples: list[Sample], claimed: list[Sample] | None = None) -> None:
    """What the hub says that a model got: what follows from its log, or from what else it claims."""
    record_evaluation(base, model, suite, samples, scores_of(read_suite(FILES), claimed or samples))


@pytest.fixture
def suite(hub: Hub) -> Entry:
    projection.register(hub.base.journal)
    hub.base.enrol("exam-board")
    return record_suite(hub.base, "exam-board", FILES)


@pytest.fixture
def home(hub: Hub, suite: Entry, coalition: Coalition, tmp_path: Path) -> Path:
    """A member of a hub where a suite evaluated two models: the first has four of twelve right, the second eleven."""
    home = tmp_path / "law"
    said = coalition("enrol", "--hub", f"127.0.0.1:{hub.port}", "--token", hub.invite("Law Institute"), home=home)
    assert said.code == 0, said.err
    record_model(hub.base, "tiny-1")
    record_model(hub.base, "tiny-1-round1", parent="tiny-1")
    record_model(hub.base, "tiny-2")
    evaluate(hub.base, "tiny-1", suite, answered(range(4)))
    evaluate(hub.base, "tiny-1-round1", suite, answered(range(1, 12)))
    return home


def test_a_difference_is_told_with_its_interval_and_examples(coalition: Coalition, home: Path) -> None:
    said = coalition("eval", "compare", "tiny-1", "tiny-1-round1", "--examples", "1", "--json", home=home)
    assert said.code == 0, said.err
    (task,) = said.json["tasks"]
    found = task["difference"]
    assert (found["wins"], found["losses"], found["ties"], found["test"]) == (8, 1, 3, "McNemar")
    assert found["gain"] == pytest.approx(7 / 12)
    assert task["p"] == pytest.approx(2 * (1 + 9) / 2**9)
    assert (task["verdict"], task["values"]) == ("better", pytest.approx([4 / 12, 11 / 12]))
    won, lost = task["items"]
    assert (won["gain"], lost["gain"], lost["number"]) == (1, -1, 0)
    assert lost["row"]["answer"] == 0
    back = coalition("eval", "compare", "tiny-1-round1", "tiny-1", "--examples", "1", home=home)
    assert "worse" in back.out
    assert "tiny-1 said: choice" in back.out


def test_models_that_no_suite_has_both_evaluated_are_not_compared(coalition: Coalition, home: Path) -> None:
    said = coalition("eval", "compare", "tiny-1", "tiny-2", home=home)
    assert said.code != 0
    assert "No suite has evaluated both tiny-1 and tiny-2" in said.err


def test_scores_that_do_not_follow_from_their_log_are_not_compared(
    coalition: Coalition, home: Path, hub: Hub, suite: Entry
) -> None:
    evaluate(hub.base, "tiny-2", suite, answered(range(2)), claimed=answered(range(12)))
    said = coalition("eval", "compare", "tiny-1", "tiny-2", home=home)
    assert said.code != 0
    assert "its log says" in said.err
