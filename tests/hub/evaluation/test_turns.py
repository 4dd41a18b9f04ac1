"""Whose suite is next, as a function of what waits."""

from __future__ import annotations

from hub.evaluation.turns import Pair, Turns
from hub.models.registry import ModelRow
from hub.submissions.catalogue import Accepted
from protos.documents.base import FileEntry
from tests.hub.evaluation.conftest import payload
from trust.digests import Digest


def pair(model: str, suite: str) -> Pair:
    """A suite `law-1` is of the member `law`."""
    member = suite.partition("-")[0]
    accepted = Accepted[FileEntry](suite, Digest(payload(suite)), suite, "1", "law", "CC0-1.0", member, ())
    return ModelRow(id=model), accepted


def order(waiting: list[Pair], *, ready: str = "") -> list[tuple[str, str]]:
    """All of them as their turns come; the last model lies ready."""
    turns, found = Turns(), []
    while waiting:
        taken = turns.take(waiting, ready)
        waiting = [each for each in waiting if each is not taken]
        ready = taken[0].id
        found.append((ready, taken[1].id))
    return found


def test_one_authors_many_suites_are_between_the_others() -> None:
    waiting = [pair("m", f"law-{number}") for number in range(4)] + [pair("m", "art-1"), pair("m", "bio-1")]
    assert [suite for _, suite in order(waiting)] == ["law-0", "art-1", "bio-1", "law-1", "law-2", "law-3"]


def test_an_author_does_not_wait_for_anothers_suites_of_an_older_model() -> None:
    waiting = [pair("m1", f"law-{number}") for number in range(3)] + [pair("m2", "law-0"), pair("m2", "art-1")]
    assert order(waiting)[:2] == [("m1", "law-0"), ("m2", "art-1")]


def test_within_a_turn_the_model_that_lies_ready_comes_first_and_then_the_oldest() -> None:
    waiting = [pair("m1", "law-1"), pair("m2", "law-1"), pair("m1", "law-2"), pair("m2", "law-2")]
    assert [model for model, _ in order(waiting, ready="m2")] == ["m2", "m2", "m1", "m1"]
    assert order(waiting)[0] == ("m1", "law-1")
