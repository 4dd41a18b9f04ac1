"""What a site tells its member about the rounds that it was part of."""

from __future__ import annotations

from contributors.site.hearing import Hearing
from protos.coalition.v1.rounds_pb2 import Campaign, Participation, Round


def campaign(*parts: Participation) -> Campaign:
    """With one round for each part."""
    rounds = [Round(number=number, participants=[part]) for number, part in enumerate(parts, start=1)]
    return Campaign(id="campaign-a", rounds=rounds)


COUNTED = Participation(member="law", weight=0.4, why="900 examples; 90.0% became 40.0% by the cap")
LEFT_OUT = Participation(member="law", excluded="Tensor a holds NaN or infinity.")
OTHERS = Participation(member="medicine", weight=1)


def test_each_new_round_is_told_once_with_weight_or_reason() -> None:
    hearing = Hearing("law")
    assert hearing.news(campaign(COUNTED)) == [], "done before we looked"
    assert hearing.news(campaign(COUNTED, LEFT_OUT, OTHERS, COUNTED)) == [
        "round 2 of campaign-a: our update was left out: Tensor a holds NaN or infinity.",
        "round 4 of campaign-a: our update weighs 40.0%: 900 examples; 90.0% became 40.0% by the cap",
    ]
    assert hearing.news(campaign(COUNTED, LEFT_OUT, OTHERS, COUNTED)) == []
