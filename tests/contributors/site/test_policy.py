"""What a site agrees to."""

from __future__ import annotations

from pathlib import Path

import pytest

from contributors.site.consent import change_agreements, with_agreement
from contributors.site.policy import (
    Agreed,
    Agreements,
    acceptable,
    check_task,
    load_policy,
    read_agreements,
    update_policy,
)
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec, SitePolicy
from protos.documents.methods import LocalTraining
from protos.documents.privacy import PrivacyBudget
from protos.documents.rounds import CONTROL, Control, RoundTask
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, NotFound

SPEC = CampaignSpec(
    name="rounds",
    base_model="tiny-1",
    rounds=3,
    minimum_members=1,
    training=LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1),
)
FILE = FileEntry(path="config.json", digest=digest_bytes(b"{}"), size=2)
POLICY = SitePolicy(data="private", maximum_rounds=3)
JOINED = Agreements(campaigns=(Agreed(campaign="campaign-a", spec=SPEC),))


def task(**more: object) -> RoundTask:
    return RoundTask.read({"campaign": "campaign-a", "round": 1, "spec": SPEC, "files": (FILE,), **more})


def test_what_was_agreed_to_passes() -> None:
    check_task(task(), POLICY, JOINED)


@pytest.mark.parametrize(
    ("wrong", "policy", "agreements", "reason"),
    [
        (task(campaign="campaign-b"), POLICY, JOINED, "not joined"),
        (task(), POLICY, Agreements(), "not joined"),
        (task(round=4), POLICY, JOINED, "no round 4"),
        (
            task(spec=SPEC.model_copy(update={"training": SPEC.training.model_copy(update={"steps": 2})})),
            POLICY,
            JOINED,
            "differs",
        ),
        (task(), POLICY.model_copy(update={"maximum_rounds": 2}), JOINED, "policy"),
        (task(), POLICY.model_copy(update={"objectives": ("sft",)}), JOINED, "policy allows sft"),
        (task(), POLICY, Agreements(campaigns=(Agreed(campaign="campaign-a", spec=SPEC, ended=True),)), "over"),
    ],
)
def test_anything_else_is_refused(wrong: RoundTask, policy: SitePolicy, agreements: Agreements, reason: str) -> None:
    with pytest.raises(Denied, match=reason):
        check_task(wrong, policy, agreements)


def test_the_first_round_starts_from_the_base_model_that_the_ledger_has() -> None:
    other = FILE.model_copy(update={"digest": digest_bytes(b"{ }")})
    of_the_ledger = Agreements(campaigns=(Agreed(campaign="campaign-a", spec=SPEC, base=(FILE,)),))
    check_task(task(), POLICY, of_the_ledger)
    check_task(task(round=2, files=(other,)), POLICY, of_the_ledger)
    with pytest.raises(Denied, match=r"config.json of the task is not that of tiny-1 on the ledger"):
        check_task(task(files=(other,)), POLICY, of_the_ledger)
    two = Agreements(
        campaigns=(Agreed(campaign="campaign-a", spec=SPEC, base=(FILE, other.model_copy(update={"path": "z"}))),)
    )
    with pytest.raises(Denied, match="z of the task is not that of tiny-1"):  # a file that is left out is another model
        check_task(task(), POLICY, two)
    beside = FileEntry(path=CONTROL, digest=digest_bytes(b"control"), size=7)
    check_task(task(files=(FILE, beside), control=Control()), POLICY, of_the_ledger)
    with pytest.raises(Denied, match=f"{CONTROL} of the task"):
        check_task(task(files=(FILE, beside)), POLICY, of_the_ledger)


def test_the_policy_is_kept_for_the_next_time(tmp_path: Path) -> None:
    data = tmp_path / "private"
    data.mkdir()
    update_policy(tmp_path, data, "all")
    agreed = ("continued-training", "sft", "dpo", "grpo")
    assert update_policy(tmp_path, None, "") == SitePolicy(data=str(data), join="all", objectives=agreed)
    (tmp_path / "site.toml").write_text(f'data = "{data}"\njoin = "ask"\nmaximum_rounds = 7\n')
    assert update_policy(tmp_path, None, "all") == SitePolicy(data=str(data), join="all", maximum_rounds=7)
    assert load_policy(tmp_path).maximum_rounds == 7


def test_a_budget_is_kept_with_the_policy_and_refuses_campaigns_without_privacy(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(f'data = "{tmp_path}"\n[privacy]\nepsilon = 8\nguarantee = "local"\n')
    policy = update_policy(tmp_path, None, "all")
    assert policy.privacy == PrivacyBudget(epsilon=8, guarantee="local")
    assert load_policy(tmp_path) == policy
    assert acceptable(policy, SPEC) == "it guarantees no privacy, and the site's budget is epsilon 8"
    with pytest.raises(Denied, match="guarantees no privacy"):
        check_task(task(), policy, JOINED)


def test_a_file_of_before_there_were_objectives_agrees_to_no_new_one(tmp_path: Path) -> None:
    """An upgrade, and a start with other words, widen nothing that the member did not write."""
    (tmp_path / "site.toml").write_text(f'data = "{tmp_path}"\njoin = "all"\n')
    tuned = SPEC.model_copy(update={"objective": "sft"})
    for policy in (load_policy(tmp_path), update_policy(tmp_path, None, "", "NL"), load_policy(tmp_path)):
        assert acceptable(policy, SPEC) == ""
        assert "policy allows continued-training" in acceptable(policy, tuned)


def test_a_site_trains_adapters_alone_until_its_member_allows_more(tmp_path: Path) -> None:
    """Also one that is new: other parts take more memory, and their updates tell more."""
    full = SPEC.model_copy(update={"trainable": "full"})
    policy = update_policy(tmp_path, tmp_path, "all")
    assert 'its trainable part is "full", and the site\'s policy allows adapter (trainable)' in acceptable(policy, full)
    (tmp_path / "site.toml").write_text(f'data = "{tmp_path}"\ntrainable = ["full", "experts"]\n')
    assert acceptable(load_policy(tmp_path), full) == ""
    assert "policy allows full, experts" in acceptable(load_policy(tmp_path), SPEC)


def test_a_site_needs_to_know_where_its_text_lies(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"site\.toml"):
        update_policy(tmp_path, None, "all")
    with pytest.raises(NotFound, match="nowhere"):
        update_policy(tmp_path, tmp_path / "nowhere", "")
    (tmp_path / "site.toml").write_text("data = 7")
    with pytest.raises(Invalid):
        load_policy(tmp_path)


def test_too_many_rounds_are_beyond_the_policy() -> None:
    assert acceptable(POLICY, SPEC) == ""
    assert "3 rounds" in acceptable(POLICY.model_copy(update={"maximum_rounds": 2}), SPEC)


def test_agreements_outlive_the_process_and_hold_a_campaign_once(tmp_path: Path) -> None:
    for _ in range(2):
        change_agreements(tmp_path, lambda known: with_agreement(known, "campaign-a", SPEC))
    assert read_agreements(tmp_path) == JOINED
