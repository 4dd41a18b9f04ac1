"""Whose model it is: by what was supplied to it and to its ancestors."""

from __future__ import annotations

import pytest

from protos.documents.interests import Made, parts, ranked, shares
from protos.documents.models import Contribution, DataUsed
from tests.hub.models.conftest import NOWHERE


def used(member: str, tokens: int) -> DataUsed:
    return DataUsed(dataset=f"data-{member}", payload=NOWHERE, member=member, licence="CC-BY-4.0", tokens=tokens)


def gave(member: str, weight: float, excluded: str = "") -> Contribution:
    return Contribution(
        member=member, examples=1, weight=weight, loss_first=1, loss_last=1, update_norm=1, excluded=excluded
    )


BASE = Made("tiny-1", "", [used("law", 300), used("law", 300), used("art", 400)], [])


def test_of_a_run_the_tokens_count_and_of_a_round_the_weight() -> None:
    assert parts(BASE) == pytest.approx({"law": 0.6, "art": 0.4})
    late = Made("tiny-1.1", "tiny-1", [], [gave("law", 1), gave("art", 3), gave("zoo", 9, excluded="late")])
    assert parts(late) == {"law": 0.25, "art": 0.75}
    assert parts(Made("tiny-2", "", [], [])) == {}
    assert parts(Made("tiny-2", "", [used("law", 0)], [])) == {"law": 0}


def test_what_an_ancestor_was_made_of_stays_with_its_descendants() -> None:
    found = shares([BASE, Made("tiny-1.1", "tiny-1", [], [gave("art", 1), gave("law", 3)])])
    assert found["tiny-1.1"] == pytest.approx({"law": 0.75, "art": 0.4})


@pytest.mark.parametrize(
    ("share", "counts"), [({}, True), ({"law": 0.49}, True), ({"law": 0.5}, False), ({"art": 1}, True)]
)
def test_half_is_too_much(share: dict[str, float], counts: bool) -> None:
    assert ranked(share, "law") is counts
