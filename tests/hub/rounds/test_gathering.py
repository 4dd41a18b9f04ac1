"""What becomes of five updates of which one is bad, and how much each member's counts, by the spec of the campaign."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hub.rounds.gathering import LEFT_OUT, Gathered, Gathering
from learning.aggregation.low_rank import products
from protos.documents.campaigns import CampaignSpec
from trust.errors import Invalid, Unavailable

A, B = "x.lora_A.weight", "x.lora_B.weight"
Update = dict[str, Tensor]


def _spec(members: int = 5, **more: Any) -> CampaignSpec:
    training = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
    given = {"name": "rounds", "base_model": "tiny-1", "rounds": 2, "minimum_members": members, "training": training}
    return CampaignSpec.read(given | more)


def _drawn(generator: torch.Generator, scale: float) -> Update:
    return {A: torch.randn(2, 6, generator=generator) * scale, B: torch.randn(5, 2, generator=generator) * scale}


GENERATOR = torch.Generator().manual_seed(5)
START, WAY = _drawn(GENERATOR, 1), _drawn(GENERATOR, 1)
HONEST = [{n: START[n] + WAY[n] + spread[n] for n in START} for spread in (_drawn(GENERATOR, 0.2) for _ in range(4))]
FLIPPED = {name: 2 * START[name] - HONEST[0][name] for name in START}


def _away(one: Update, other: Update) -> float:
    return math.sqrt(sum(float((one[name] - other[name]).square().sum()) for name in one))


def _gathered(spec: CampaignSpec, updates: list[Update], examples: list[int] | None = None) -> Gathered:
    gathering = Gathering(spec, START)
    for number, update in enumerate(updates):
        gathering.add(f"member-{number}", update, examples[number] if examples else 1)
    return gathering.result()


@pytest.mark.parametrize("averaging", ["median", "trimmed-mean", "krum", "multi-krum", "factors"])
def test_one_flipped_update_of_five_moves_the_plain_mean_alone(averaging: str) -> None:
    honest = _gathered(_spec(), HONEST).update
    spread = max(_away(update, honest) for update in HONEST)
    found = _gathered(_spec(averaging=averaging), [FLIPPED, *HONEST])
    assert (_away(found.update, honest) <= spread) == (averaging != "factors")
    assert sum(share.weight for share in found.shares.values()) == pytest.approx(1)
    if "krum" in averaging:
        assert found.shares["member-0"].weight == 0
        assert found.shares["member-0"].reason == LEFT_OUT


@pytest.mark.parametrize(("averaging", "needed"), [("median", 3), ("trimmed-mean", 3), ("krum", 5), ("multi-krum", 5)])
def test_a_rule_takes_as_many_updates_as_it_needs_to_stand_up_to_what_it_promises(averaging: str, needed: int) -> None:
    """Absence leaves it without result, or who answers first would be the round. A bad one that was turned away is one less to
    stand up to."""
    updates = [*HONEST, FLIPPED]
    with pytest.raises(Unavailable, match=f"needs {needed} valid updates; {needed - 1} came"):
        _gathered(_spec(averaging=averaging), updates[: needed - 1])
    gathering = Gathering(_spec(averaging=averaging), START)
    gathering.turn_away()
    for number in range(gathering.needed):
        gathering.add(f"member-{number}", HONEST[number], 1)
    assert gathering.needed == needed - 2
    assert sum(share.weight for share in gathering.result().shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("averaging", ["products", "median", "trimmed-mean", "krum", "multi-krum"])
def test_a_round_comes_to_the_same_bytes_whoever_answers_first(averaging: str) -> None:
    """Three near each other in pairs tie for Krum: then the name decides, not the time."""
    updates = {f"member-{number}": update for number, update in enumerate([*HONEST, FLIPPED])}
    found = []
    for order in (sorted(updates), sorted(updates, reverse=True)):
        gathering = Gathering(_spec(averaging=averaging), START)
        for member in order:
            gathering.add(member, updates[member], 1)
        found.append(gathering.result())
    assert found[0].shares == found[1].shares
    assert all(torch.equal(found[0].update[name], found[1].update[name]) for name in found[0].update)


QUALITIES = {f"member-{number}": quality for number, quality in enumerate([0.5, 1.0, 1.2, 1.8])}


@pytest.mark.parametrize("averaging", ["factors", "products", "median", "trimmed-mean", "krum", "multi-krum"])
def test_an_update_below_the_quality_floor_does_not_count(averaging: str) -> None:
    """And is not compared with the others: the round is what it would be without it."""
    measured = iter(QUALITIES.values())
    spec = _spec(averaging=averaging, quality={"dataset": "data-1", "floor": 0.9})
    gathering = Gathering(spec, START, lambda update: next(measured))
    for member, update in zip(QUALITIES, [FLIPPED, *HONEST[1:]], strict=True):
        assert gathering.add(member, update, 1).quality == QUALITIES[member]
    found = gathering.result()
    without = Gathering(_spec(averaging=averaging), START)
    without.turn_away()
    for member, update in zip(list(QUALITIES)[1:], HONEST[1:], strict=True):
        without.add(member, update, 1)
    torch.testing.assert_close(found.update, without.result().update)
    assert found.shares["member-0"].weight == 0
    assert found.shares["member-0"].reason == "left out: quality 0.5 below the floor of 0.9"


def test_measured_quality_may_weigh() -> None:
    measured = iter(QUALITIES.values())
    spec = _spec(weighting="quality", quality={"dataset": "data-1", "floor": 0.9})
    gathering = Gathering(spec, START, lambda update: next(measured))
    for member, update in zip(QUALITIES, [FLIPPED, *HONEST[1:]], strict=True):
        gathering.add(member, update, 1)
    found = gathering.result()
    assert [share.weight for share in found.shares.values()] == pytest.approx([0, 1 / 4, 1.2 / 4, 1.8 / 4])
    assert found.shares["member-3"].reason == "quality 1.8"
    expected = {n: sum(w * u[n] for w, u in zip((0.25, 0.3, 0.45), HONEST[1:], strict=True)) for n in START}
    torch.testing.assert_close(found.update, expected)


def test_a_round_in_which_nobody_reaches_the_floor_comes_to_nothing() -> None:
    gathering = Gathering(_spec(quality={"dataset": "data-1", "floor": 2}), START, lambda update: 1.0)
    gathering.add("law", HONEST[0], 1)
    assert not len(gathering)
    with pytest.raises(Unavailable, match="needs 1 valid updates; 0 came"):
        gathering.result()


@pytest.mark.parametrize("averaging", ["factors", "products"])
def test_no_member_counts_more_than_its_cap(averaging: str) -> None:
    spec = _spec(2, averaging=averaging, weighting="examples", maximum_share=0.4)
    found = _gathered(spec, HONEST[:3], [900, 90, 10])
    assert [share.weight for share in found.shares.values()] == pytest.approx([0.4, 0.4, 0.2])
    assert "900 examples; 90.0% became 40.0%" in found.shares["member-0"].reason
    weights = (0.4, 0.4, 0.2)
    if averaging == "factors":
        expected = {n: sum(w * u[n] for w, u in zip(weights, HONEST, strict=False)) for n in START}
        torch.testing.assert_close(found.update, expected)
    else:
        whole = sum(w * products(u)["x"] for w, u in zip(weights, HONEST, strict=False))
        torch.testing.assert_close(products(found.update)["x"], whole)


def test_updates_are_brought_back_to_the_norm() -> None:
    found = _gathered(_spec(clip_norm=0.5), [HONEST[0]])
    assert _away(found.update, START) == pytest.approx(0.5, rel=1e-5)


def test_plain_means_hold_no_update_however_many_come() -> None:
    for more in ({}, {"maximum_share": 0.3}, {"weighting": "examples"}):
        gathering = Gathering(_spec(**more), START)
        for number in range(9):
            gathering.add(f"member-{number}", HONEST[0], 5)
        assert not vars(gathering)["_held"]
        assert len(gathering) == 9


def test_an_update_that_cannot_be_counted_changes_nothing() -> None:
    gathering = Gathering(_spec(weighting="examples"), START)
    with pytest.raises(Invalid, match="no examples"):
        gathering.add("law", HONEST[0], 0)
    with pytest.raises(Invalid, match="lacks"):
        gathering.add("law", {A: HONEST[0][A]}, 3)
    assert not len(gathering)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"averaging": "krum", "members": 4}, "minimum_members of 5"),
        ({"averaging": "multi-krum", "bad_updates": 2, "members": 6}, "minimum_members of 7"),
        ({"averaging": "trimmed-mean", "bad_updates": 2, "members": 4}, "minimum_members of 5"),
        ({"averaging": "median", "members": 2}, "minimum_members of 3"),
        ({"averaging": "median", "weighting": "examples"}, "the same"),
        ({"averaging": "krum", "maximum_share": 0.3}, "the same"),
        ({"maximum_share": 0}, "maximum_share"),
        ({"patience": {"minimum_updates": 6}}, "more updates than minimum_members"),
        (
            {
                "quality": {"dataset": "data-1"},
                "privacy": {"guarantee": "central", "clip": 1.0, "noise": 1.0, "delta": 1e-6, "maximum_epsilon": 9.0},
            },
            "Quality tells of every update",
        ),
        ({"weighting": "quality"}, "needs \\[quality\\]"),
    ],
)
def test_a_spec_that_cannot_hold_what_it_says_is_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        _spec(**more)


W1, W2, W3 = (f"mlp.experts.down_proj.{number}" for number in (1, 2, 3))
OWN = {"trainable": "experts", "experts": {"own": {"law": [1], "medicine": [2, 1]}}}


def test_experts_of_members_own_keep_their_updates_and_what_two_train_is_averaged() -> None:
    """An expert that one member trains takes its whole update, whatever part the member has in a mean of all."""
    start = {name: torch.zeros(4) for name in (W1, W2)}
    gathering = Gathering(_spec(2, weighting="examples", **OWN), start)
    gathering.add("law", {W1: torch.full((4,), 1.0)}, 3)
    gathering.add("medicine", {W1: torch.full((4,), 5.0), W2: torch.full((4,), -2.0)}, 1)
    found = gathering.result()
    torch.testing.assert_close(found.update, {W1: torch.full((4,), 2.0), W2: torch.full((4,), -2.0)})
    assert {member: share.weight for member, share in found.shares.items()} == {"law": 0.75, "medicine": 0.25}


def test_nobody_moves_an_expert_that_is_not_its_own() -> None:
    gathering = Gathering(_spec(2, **OWN), {name: torch.zeros(4) for name in (W1, W2)})
    for member, update in (
        ("law", {W1: torch.ones(4), W2: torch.ones(4)}),
        ("law", {W2: torch.ones(4)}),
        ("medicine", {W1: torch.ones(4)}),
        ("medicine", {W1: torch.ones(4), W3: torch.ones(4)}),
        ("stranger", {W1: torch.ones(4)}),
    ):
        with pytest.raises(Invalid):
            gathering.add(member, update, 1)
    assert len(gathering) == 0


def test_an_update_of_own_experts_is_measured_with_all_others_where_they_were() -> None:
    seen: list[dict[str, Tensor]] = []

    def measure(update: Any) -> float:
        seen.append(dict(update))
        return 1.0

    spec = _spec(2, weighting="quality", quality={"dataset": "data-1"}, **OWN)
    gathering = Gathering(spec, {name: torch.zeros(4) for name in (W1, W2)}, measure)
    gathering.add("law", {W1: torch.ones(4)}, 1)
    torch.testing.assert_close(seen, [{W1: torch.ones(4), W2: torch.zeros(4)}])
