"""The hub's ranking: what counts in it, what is left out with its reason, and that nothing is read twice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import pytest

from hub.evaluation.ranking import Rankings
from hub.ledger.entries import Entry
from learning.scoring import score
from protos.coalition.v1 import evaluation_pb2
from protos.documents.evaluations import Sample, TaskScore
from protos.documents.submissions import SuiteVisibility, Withdrawal
from tests.hub.conftest import ORIGIN, Base
from tests.hub.evaluation.conftest import record_evaluation, record_suite, suite_files
from tests.hub.models.conftest import contribution, record_model

ITEMS = 40


@pytest.fixture
def three(hub: Base) -> Base:
    """A base model and what two rounds made of it; the last by the law institute alone."""
    hub.enrol("law-institute")
    hub.enrol("university")
    record_model(hub, "tiny-1")
    record_model(hub, "tiny-1.1", parent="tiny-1")
    record_model(hub, "tiny-1.2", parent="tiny-1", contributions=[contribution("law-institute")])
    return hub


def evaluate(base: Base, model: str, suite: Entry, right: int, tasks: Sequence[str] = ("terms",)) -> None:
    """`right` of its items, the first ones."""
    samples = [
        Sample(task=task, item=n, log_likelihoods=(-1.0, -2.0), lengths=(3, 3), answer=int(n >= right))
        for task in tasks
        for n in range(ITEMS)
    ]
    found = score("acc", samples[:ITEMS])
    claimed = tuple(
        TaskScore(
            task=task,
            metric="acc",
            value=found.value,
            standard_error=found.standard_error,
            items=ITEMS,
            baseline=found.baseline,
        )
        for task in tasks
    )
    record_evaluation(base, model, suite, samples, claimed)


def rank(base: Base, size: int = 1 << 20, domain: str = "") -> evaluation_pb2.Ranking:
    with base.database.session() as session:
        return Rankings(base.blobs).of(session, size, domain)


def shown(ranking: evaluation_pb2.Ranking) -> list[tuple[str, int, int]]:
    return [(each.model, each.first, each.last) for each in ranking.models]


def left_out(ranking: evaluation_pb2.Ranking) -> dict[str, str]:
    return {each.what: each.why for each in ranking.left_out}


def test_the_best_comes_first_and_equals_share_a_rank(three: Base) -> None:
    art = record_suite(three, "university", suite_files("art-exam"))
    for model, right in (("tiny-1", 12), ("tiny-1.1", 36), ("tiny-1.2", 12)):
        evaluate(three, model, art, right)
    found = rank(three)
    assert shown(found) == [("tiny-1.1", 1, 1), ("tiny-1", 2, 3), ("tiny-1.2", 2, 3)]
    assert list(found.tasks) == ["art-exam/terms"]
    assert found.models[0].value == pytest.approx((0.9 - 0.5) / 0.5)
    assert found.models[0].low < found.models[0].value < found.models[0].high
    assert found.ledger_size == art.index + 4
    assert shown(rank(three, domain="medicine")) == []


def test_what_is_not_final_does_not_count(three: Base) -> None:
    art = record_suite(three, "university", suite_files("art-exam"))
    evaluate(three, "tiny-1", art, 12)
    evaluate(three, "tiny-1.1", art, 36)
    assert shown(rank(three, art.index + 2)) == [("tiny-1", 1, 1)]


@pytest.mark.parametrize("visibility", ["hub", "sealed"])
def test_a_suite_whose_logs_are_not_for_everyone_does_not_count(three: Base, visibility: SuiteVisibility) -> None:
    """Nobody but its owner could check what it does to the ranking."""
    secret = record_suite(three, "university", suite_files("secret-exam"), visibility=visibility)
    evaluate(three, "tiny-1", secret, 12)
    found = rank(three)
    assert (shown(found), list(left_out(found))) == ([], ["secret-exam"])


def test_a_suite_of_the_member_who_trained_a_model_does_not_count_and_takes_no_model_out(three: Base) -> None:
    law, art = (
        record_suite(three, "law-institute", suite_files()),
        record_suite(three, "university", suite_files("art-exam")),
    )
    for model in ("tiny-1", "tiny-1.2"):
        evaluate(three, model, art, 12)
        evaluate(three, model, law, 20)
    found = rank(three)
    assert (shown(found), list(found.tasks)) == ([("tiny-1", 1, 2), ("tiny-1.2", 1, 2)], ["art-exam/terms"])
    assert left_out(found) == {
        "law-exam": "law-institute, whose suite it is, supplied half or more of a training of tiny-1.2.",
    }


def test_a_suite_that_was_withdrawn_shuts_no_later_model_out(three: Base) -> None:
    law, art = (record_suite(three, "university", suite_files(name)) for name in ("law-exam", "art-exam"))
    evaluate(three, "tiny-1", law, 20)
    evaluate(three, "tiny-1", art, 20)
    end = three.record(Withdrawal(hub=ORIGIN, signer="university", submission=law.id)).index
    evaluate(three, "tiny-1.1", art, 30)
    found = rank(three)
    assert ([model for model, *_ in shown(found)], list(found.tasks)) == (["tiny-1.1", "tiny-1"], ["art-exam/terms"])
    assert len(rank(three, end).tasks) == 2, "as the ledger had it before"


def test_a_suite_that_is_submitted_under_a_taken_name_changes_names_and_no_number(three: Base) -> None:
    """Also in a ranking that is remembered: an audit would find another."""
    rankings = Rankings(three.blobs)
    zoo, art = (record_suite(three, "university", suite_files(name)) for name in ("zoo-exam", "art-exam"))
    for suite in (zoo, art):
        evaluate(three, "tiny-1", suite, 20)
    with three.database.session() as session:
        before = rankings.of(session, 1 << 20)
    record_suite(three, "law-institute", suite_files("art-exam"), visibility="sealed")
    with three.database.session() as session:
        after = rankings.of(session, 1 << 20)
    assert list(after.tasks) == ["university:art-exam/terms", "zoo-exam/terms"]
    assert after.models == before.models == Rankings(three.blobs).of(session, 1 << 20).models


def test_a_suite_that_is_called_like_a_model_takes_nobody_out(three: Base) -> None:
    art = record_suite(three, "university", suite_files("art-exam"))
    secret = record_suite(three, "law-institute", suite_files("tiny-1"), visibility="sealed")
    evaluate(three, "tiny-1", art, 12)
    evaluate(three, "tiny-1", secret, 12)
    assert shown(rank(three)) == [("tiny-1", 1, 1)]


def test_a_model_without_a_score_that_most_have_waits_and_holds_nobody_up(three: Base) -> None:
    art, law = (record_suite(three, "university", suite_files(name)) for name in ("art-exam", "law-exam"))
    for model in ("tiny-1", "tiny-1.1", "tiny-1.2"):
        evaluate(three, model, art, 20)
    evaluate(three, "tiny-1", law, 20)
    assert len(shown(rank(three))) == 3, "one model of three has been evaluated by the new suite"
    evaluate(three, "tiny-1.1", law, 20)
    found = rank(three)
    assert ([model for model, *_ in shown(found)], list(left_out(found))) == (["tiny-1", "tiny-1.1"], ["tiny-1.2"])


def test_a_log_that_the_hub_lost_takes_its_model_out_and_nobody_else(three: Base) -> None:
    art = record_suite(three, "university", suite_files("art-exam"))
    evaluate(three, "tiny-1", art, 12)
    evaluate(three, "tiny-1.1", art, 36)
    rankings = Rankings(three.blobs)
    with three.database.session() as session:
        assert len(rankings.of(session, 1 << 20).models) == 2
        shutil.rmtree(three.directory / "blobs" / "sha256")
        assert len(rankings.of(session, 1 << 20).models) == 2, "a log that was read is not read again"
        found = Rankings(three.blobs).of(session, 1 << 20)
        assert shown(found) == []
        assert left_out(found)["tiny-1"].endswith("cannot be read at the hub.")
