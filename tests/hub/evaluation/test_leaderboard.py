"""What waits, and the board: current suites only, told apart, and scores where they belong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from sqlmodel import Session

from hub.evaluation import store
from hub.evaluation.leaderboard import leaderboard, scores_of
from hub.ledger.entries import Entry
from hub.ledger.grants import may_read
from protos.documents.evaluations import Evaluation, TaskScore
from protos.documents.statements import HUB
from protos.documents.submissions import SuiteVisibility
from tests.hub.conftest import ORIGIN, Base
from tests.hub.evaluation.conftest import payload, record_suite, suite_files
from tests.hub.models.conftest import record_model
from trust.digests import Digest
from trust.errors import Conflict


def record_evaluation(
    base: Base, model: str, suite: Entry, value: float, failure: str = "", metric: str = "acc"
) -> Entry:
    score = TaskScore.read(
        {"task": "terms", "metric": metric, "value": value, "standard_error": 0.1, "items": 12}
        | ({"baseline": 0.25} if metric == "acc" else {})
    )
    return base.journal.sign_and_record(
        Evaluation(
            hub=ORIGIN,
            signer=HUB,
            model=model,
            model_payload=payload(model),
            suite=suite.id,
            suite_payload=suite.payload,
            harness="lm-eval",
            scores=() if failure else (score,),
            failure=failure,
            samples=None if failure else base.blobs.put(f"{model} {suite.id}".encode()),
            seconds=1,
        )
    )


def pairs(session: Session) -> Sequence[tuple[str, list[str]]]:
    return [(model.id, [suite.id for suite in suites]) for model, suites in store.waiting(session)]


@pytest.fixture
def two(hub: Base) -> Base:
    hub.enrol("law-institute")
    hub.enrol("university")
    record_model(hub, "tiny-1")
    record_model(hub, "tiny-1.1", parent="tiny-1")
    return hub


def test_every_pair_waits_until_it_is_recorded_the_oldest_model_first(two: Base) -> None:
    law = record_suite(two, "law-institute", suite_files("law-exam"))
    art = record_suite(two, "university", suite_files("art-exam"))
    with two.database.session() as session:
        assert pairs(session) == [("tiny-1", [law.id, art.id]), ("tiny-1.1", [law.id, art.id])]
    record_evaluation(two, "tiny-1", law, 0.5)
    record_evaluation(two, "tiny-1", art, 0, failure="it died")
    with two.database.session() as session:
        assert pairs(session) == [("tiny-1.1", [law.id, art.id])]


def test_a_pair_is_evaluated_once(two: Base) -> None:
    law = record_suite(two, "law-institute", suite_files())
    record_evaluation(two, "tiny-1", law, 0.5)
    with pytest.raises(Conflict, match="tiny-1"):
        record_evaluation(two, "tiny-1", law, 0.9)


def test_the_board_has_a_row_per_model_and_a_column_per_task(two: Base) -> None:
    law = record_suite(two, "law-institute", suite_files())
    art = record_suite(two, "university", suite_files("art-exam"))
    record_evaluation(two, "tiny-1", law, 0.5)
    record_evaluation(two, "tiny-1.1", law, 0.625)
    record_evaluation(two, "tiny-1", art, 2.5, metric="bits_per_byte")
    with two.database.session() as session:
        board = leaderboard(session)
    assert [column.key for column in board.columns] == ["art-exam/terms", "law-exam/terms"]
    assert [column.higher_is_better for column in board.columns] == [False, True]
    assert math.isnan(board.columns[0].baseline)
    assert board.columns[1].baseline == 0.25
    assert [(row.model, row.parent, row.origin) for row in board.rows] == [
        ("tiny-1", "", "run"),
        ("tiny-1.1", "tiny-1", "round"),
    ]
    assert board.rows[0].scores["law-exam/terms"].value == 0.5
    assert board.rows[1].scores["law-exam/terms"].value == 0.625
    assert "art-exam/terms" not in board.rows[1].scores
    assert board.waiting == 1


def test_a_failure_has_no_place_on_the_board(two: Base) -> None:
    law = record_suite(two, "law-institute", suite_files())
    record_evaluation(two, "tiny-1", law, 0, failure="it died")
    with two.database.session() as session:
        board = leaderboard(session)
        assert scores_of(session, "tiny-1") == []
    assert not board.columns
    assert board.waiting == 1


def test_a_new_version_of_a_suite_replaces_the_old_one(two: Base) -> None:
    old = record_suite(two, "law-institute", suite_files(), version="1")
    record_evaluation(two, "tiny-1", old, 0.9)
    new = record_suite(two, "law-institute", suite_files(version="2"), version="2")
    with two.database.session() as session:
        assert pairs(session) == [("tiny-1", [new.id]), ("tiny-1.1", [new.id])]
        assert not leaderboard(session).columns
        assert scores_of(session, "tiny-1") == []
    record_evaluation(two, "tiny-1", new, 0.4)
    with two.database.session() as session:
        assert leaderboard(session).rows[0].scores["law-exam/terms"].value == 0.4


def test_nobody_can_write_into_anothers_column(two: Base) -> None:
    law = record_suite(two, "law-institute", suite_files())
    same = record_suite(two, "university", suite_files())
    record_evaluation(two, "tiny-1", law, 0.4)
    record_evaluation(two, "tiny-1", same, 0.99)
    with two.database.session() as session:
        scores = leaderboard(session).rows[0].scores
        assert scores["law-institute:law-exam/terms"].value == 0.4
        assert scores["university:law-exam/terms"].value == 0.99


def test_logs_are_for_everyone_and_scores_name_their_statement(two: Base) -> None:
    law = record_suite(two, "law-institute", suite_files())
    entry = record_evaluation(two, "tiny-1", law, 0.5)
    with two.database.session() as session:
        (line,) = scores_of(session, "tiny-1")
        assert (line.evaluation, line.ledger_entry, line.suite_payload) == (entry.id, entry.index, law.payload)
        assert may_read(session, Digest(line.samples), member="anybody")


@pytest.mark.parametrize("visibility", ["hub", "sealed"])
def test_the_log_of_a_suite_that_is_not_for_everyone_is_its_owners(two: Base, visibility: SuiteVisibility) -> None:
    """Per-item answers tell much of the items (decision 15)."""
    law = record_suite(two, "law-institute", suite_files(), visibility=visibility)
    record_evaluation(two, "tiny-1", law, 0.5)
    with two.database.session() as session:
        (line,) = scores_of(session, "tiny-1")
        assert may_read(session, Digest(line.samples), member="law-institute")
        assert not may_read(session, Digest(line.samples), member="university")
        assert not may_read(session, Digest(line.samples), node=True)
