"""What a campaign guarantees in words, and what recorded rounds have cost."""

from __future__ import annotations

from typing import Any

import pytest

from hub.rounds.promises import check_promise, promise, spent, told
from learning.privacy.accounting import epsilon_of, mu_of
from protos.documents.campaigns import CampaignSpec
from protos.documents.models import Contribution
from trust.errors import Invalid


def _spec(rounds: int = 10, members: int = 4, averaging: str = "factors", **privacy: Any) -> CampaignSpec:
    training = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
    given = {"name": "rounds", "base_model": "tiny-1", "minimum_members": members, "training": training}
    whole = {"guarantee": "central", "clip": 0.5, "noise": 1, "delta": 1e-5, "maximum_epsilon": 18} | privacy
    return CampaignSpec.read(
        given | {"rounds": rounds, "averaging": averaging, "privacy": whole if privacy != {"none": 1} else None}
    )


def test_a_promise_that_the_rounds_break_is_refused() -> None:
    check_promise(_spec())
    check_promise(_spec(none=1))
    with pytest.raises(Invalid, match=r"11 rounds with noise of 1 cost epsilon 19 at delta 1e-05, over .* 18"):
        check_promise(_spec(rounds=11))


def test_it_is_said_who_is_protected_from_whom() -> None:
    central = promise(_spec())
    assert "all 10 rounds together cost a member at most epsilon 17.9 at delta 1e-05" in central
    assert "The hub sees every update without noise." in central
    local = promise(_spec(guarantee="local"))
    assert "epsilon 17.9" in local
    assert "the hub too" in local
    assert "sees every update" not in local
    assert promise(_spec(none=1)) == ""


def test_what_masks_hide_is_said_and_what_they_do_not() -> None:
    training = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
    given = {"name": "rounds", "base_model": "tiny-1", "rounds": 2, "minimum_members": 4, "training": training}
    alone = promise(CampaignSpec.read(given | {"clip_norm": 1, "masks": {}}))
    assert "also with what 1 of a round's members tells it" in alone
    assert "of 4 members at least 3, and no single update" in alone
    assert "bounded by no noise" in alone
    assert "who does not can move a round's mean anywhere within it" in alone
    local = {"guarantee": "local", "clip": 0.5, "noise": 1, "delta": 1e-5, "maximum_epsilon": 18}
    both = promise(CampaignSpec.read(given | {"privacy": local, "masks": {"colluding": 0}}))
    assert "adds Gaussian noise" in both
    assert "as long as no member of the round helps it" in both
    assert "bounded by no noise" not in both


def test_noise_of_four_sites_adds_up_in_a_mean_and_nowhere_else() -> None:
    """Four times the variance is twice the noise."""
    assert 7.51 < epsilon_of(mu_of([(10, 2.0)]), 1e-5) < 7.515
    assert "to epsilon 7.52." in promise(_spec(guarantee="local"))
    assert "adds up" not in promise(_spec(guarantee="local", averaging="median"))
    assert "adds up" not in promise(_spec(guarantee="local", members=1))


def _part(member: str, **more: Any) -> Contribution:
    given = {"member": member, "examples": 3, "weight": 1, "loss_first": 0, "loss_last": 0, "update_norm": 0}
    return Contribution.read(given | more)


def test_what_is_spent_follows_from_the_rounds_of_all_campaigns() -> None:
    spec, other = _spec(), _spec(noise=2, delta=1e-6)
    known = [
        *told("campaign-a", spec, [_part("law"), _part("medicine")]),
        *told("campaign-a", spec, [_part("law"), _part("medicine", examples=0, excluded="away")]),
        *told("campaign-b", other, [_part("law"), _part("maths")]),
        *told("campaign-c", _spec(none=1), [_part("law")]),
    ]
    assert spec.privacy is not None
    law, medicine = spent("campaign-a", spec.privacy, known)
    assert (law.member, law.rounds, law.rounds_without, law.delta) == ("law", 2, 1, 1e-5)
    assert law.epsilon == epsilon_of(mu_of([(2, 1.0)]), 1e-5)
    assert law.epsilon_everywhere == pytest.approx(epsilon_of(mu_of([(2, 1.0), (1, 2.0)]), 1e-5))
    assert (medicine.member, medicine.rounds, medicine.rounds_without) == ("medicine", 1, 0)
    assert medicine.epsilon == medicine.epsilon_everywhere


def test_an_update_that_came_and_was_left_out_counts_as_told() -> None:
    """With noise of the site it was given out, whatever the hub did with it."""
    spec = _spec(guarantee="local")
    (one,) = told("campaign-a", spec, [_part("law", excluded="too far from the others", weight=0)])
    assert (one.member, one.noise) == ("law", 1)
