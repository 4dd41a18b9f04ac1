"""Reward policies as signed statements, and what campaigns may say of learning by them."""

from __future__ import annotations

from typing import Any

import pytest

from protos.documents.campaigns import CampaignSpec
from protos.documents.rewards import MAX_POLICY, RewardPolicy
from protos.documents.statements import read, sign, unnamed
from protos.documents.submissions import Reward
from trust.digests import digest_bytes
from trust.errors import Invalid
from trust.keys import ArtifactKey

POLICY = {
    "format": "coalition-reward/v1",
    "name": "careful",
    "description": "Answers in JSON.",
    "rules": [
        {"name": "shape", "check": {"how": "json_schema", "json_schema": {"type": "object", "minItems": 1}}},
        {"name": "short", "check": {"how": "length", "most": 50}, "weight": 0.5},
    ],
}
FIRST, SECOND = (str(digest_bytes(name)) for name in (b"first", b"second"))
SPEC: dict[str, Any] = {
    "name": "careful-rounds",
    "base_model": "tiny-1",
    "objective": "grpo",
    "rounds": 2,
    "minimum_members": 1,
    "rewards": {"policies": [FIRST], "group": 4, "max_new_tokens": 16},
    "training": {"steps": 5, "batch_size": 8, "sequence_length": 64, "learning_rate": 0.01},
}


def test_a_signed_policy_is_read_as_it_was_written() -> None:
    claim = Reward.read({"hub": "test-hub", "signer": "law", "policy": POLICY})
    found = read(sign(claim, ArtifactKey.generate()))
    assert found.claim == claim
    assert found.kind == "reward"
    assert found.id == unnamed("reward", found.payload)
    assert (claim.name, claim.sent) == ("careful", ())


def test_a_policy_is_small() -> None:
    terms = [f"{number:0150}" for number in range(1000)]
    rules = [{"name": f"terms-{number}", "check": {"how": "forbidden", "terms": terms}} for number in range(2)]
    with pytest.raises(Invalid, match=f"more than {MAX_POLICY} bytes"):
        RewardPolicy.read(POLICY | {"rules": rules})


def test_a_campaign_of_rewards_says_what_it_generates_at_most() -> None:
    assert CampaignSpec.read(SPEC).generated == 5 * 8 * 16
    twice = {**SPEC["rewards"], "passes": 2}
    assert CampaignSpec.read(SPEC | {"rewards": twice}).generated == 3 * 8 * 16
    assert CampaignSpec.read(SPEC | {"objective": "sft", "rewards": None}).generated == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rewards": None}, "The objective grpo needs [rewards]."),
        ({"objective": "sft"}, "The objective sft has no use for [rewards]."),
        ({"rewards": {"policies": []}}, "rewards.policies: must not be empty."),
        ({"rewards": {"policies": [FIRST, FIRST]}}, "[rewards] names a policy twice."),
        ({"rewards": {"policies": [FIRST, SECOND], "group": 3, "max_new_tokens": 16}}, "no whole groups of 3."),
        ({"rewards": {"policies": [FIRST], "group": 1}}, "rewards.group: must be at least 2."),
        ({"rewards": {"policies": [FIRST], "max_new_tokens": 64}}, "leaves a prompt no room in sequence_length of 64."),
        ({"rewards": {"policies": [FIRST], "temperature": 0}}, "rewards.temperature: must be at least 0.1."),
        ({"rewards": {"policies": [FIRST], "clip": 1}}, "rewards.clip: must be less than 1."),
        ({"rewards": {"policies": ["reward-0123456789ab"]}}, "must be sha256: and 64 hexadecimal digits."),
    ],
)
def test_what_contradicts_itself_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Invalid) as caught:
        CampaignSpec.read(SPEC | changes)
    assert sentence in caught.value.what
