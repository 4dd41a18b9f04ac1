"""What a campaign may guarantee, and what it may not be combined with."""

from __future__ import annotations

from typing import Any

import pytest

from protos.documents.campaigns import CampaignSpec, SitePolicy
from trust.errors import Invalid

PRIVACY = {"guarantee": "central", "clip": 0.5, "noise": 1, "delta": 1e-6, "maximum_epsilon": 30}


def _spec(privacy: dict[str, Any] | None = None, **more: Any) -> CampaignSpec:
    training = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
    given = {"name": "rounds", "base_model": "tiny-1", "rounds": 2, "minimum_members": 7, "training": training}
    return CampaignSpec.read(given | {"privacy": PRIVACY | (privacy or {})} | more)


LOCAL = {"guarantee": "local"}


@pytest.mark.parametrize("averaging", ["median", "trimmed-mean", "krum", "multi-krum", "products"])
def test_rules_that_look_at_single_updates_need_noise_of_the_sites(averaging: str) -> None:
    with pytest.raises(Invalid, match=f"{averaging} shows single updates"):
        _spec(averaging=averaging)
    assert _spec(LOCAL, averaging=averaging).privacy


def test_weights_that_tell_of_the_text_need_noise_of_the_sites() -> None:
    with pytest.raises(Invalid, match="a weight by examples tells of the text"):
        _spec(weighting="examples")
    assert _spec(LOCAL, weighting="examples").privacy


def test_there_is_one_norm_to_clip_to() -> None:
    for privacy in ({}, LOCAL):
        with pytest.raises(Invalid, match="leave clip_norm out"):
            _spec(privacy, clip_norm=1)


def test_what_an_update_lost_is_not_given_back_above_the_norm() -> None:
    for privacy in ({}, LOCAL):
        with pytest.raises(Invalid, match="what a guarantee of privacy clipped"):
            _spec(privacy, transfer={"how": "int8", "feedback": True})


@pytest.mark.parametrize("asked", ["secure-aggregation", "secagg+"])
def test_secure_aggregation_is_asked_for_by_masks(asked: str) -> None:
    with pytest.raises(Invalid, match=r"write \[masks\]"):
        _spec({"guarantee": asked})


@pytest.mark.parametrize(
    "wrong", [{"guarantee": "none"}, {"noise": 0}, {"clip": 0}, {"delta": 0.5}, {"delta": 0}, {"more": 1}]
)
def test_what_guarantees_nothing_is_no_guarantee(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=next(iter(wrong))):
        _spec(wrong)


def test_compression_and_a_step_of_the_servers_come_after_the_noise() -> None:
    server = {"rate": 0.5}
    for privacy in ({}, LOCAL):
        assert _spec(privacy, transfer={"how": "int8"}, strategy="diloco", server=server).privacy


def test_a_budget_is_closed_as_well() -> None:
    assert SitePolicy.read({"data": "x", "privacy": {"epsilon": 8}}).privacy
    with pytest.raises(Invalid, match="epsilon"):
        SitePolicy.read({"data": "x", "privacy": {"epsilon": 0}})
