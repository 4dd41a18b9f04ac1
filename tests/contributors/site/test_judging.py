"""A site's round by reward policies: which of its rows are tasks, what judges the answers, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from contributors.site.clientapp import honest_work
from contributors.site.consent import change_agreements, with_agreement
from contributors.site.judging import Judge
from contributors.site.policy import acceptable, update_policy
from contributors.site.private import Unfit
from contributors.site.training import train
from learning.export import load_model, save_model
from protos.documents.campaigns import CampaignSpec, SitePolicy
from protos.documents.methods import Adapter
from protos.documents.privacy import Privacy
from protos.documents.rewards import RewardPolicy
from protos.documents.rounds import RoundTask
from tests.contributors.site.test_training import SECRET, declare, files, text_of  # noqa: F401  (a fixture)
from trust.digests import digest_bytes
from trust.errors import Invalid


def policy(*checks: dict[str, Any]) -> RewardPolicy:
    rules = [{"name": f"rule-{number}", "check": check} for number, check in enumerate(checks)]
    written = {"format": "coalition-reward/v1", "name": "test", "description": "For a test."}
    return RewardPolicy.read({**written, "rules": rules})


VOWELS = policy({"how": "regex", "pattern": "[aeiou]"})
RIGHT = policy({"how": "exact"})
SPEC = CampaignSpec.read(
    {
        "name": "rewarded-rounds",
        "base_model": "tiny-1",
        "objective": "grpo",
        "rounds": 3,
        "minimum_members": 1,
        "adapter": Adapter(rank=4, alpha=8),
        "rewards": {"policies": [digest_bytes(b"vowels")], "group": 4, "max_new_tokens": 6, "beta": 0},
        "training": {"steps": 8, "batch_size": 8, "sequence_length": 64, "learning_rate": 0.02},
    }
)


@pytest.fixture
def outspoken(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:  # noqa: F811
    """The tiny model with a head that is loud enough for an adapter to change what it says."""
    folder = tmp_path_factory.mktemp("outspoken")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    model, tokenizer = load_model(folder)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return {path.name: path.read_bytes() for path in save_model(model, tokenizer, folder)}


@pytest.fixture
def task(outspoken: dict[str, bytes]) -> RoundTask:
    entries = [{"path": n, "digest": digest_bytes(data), "size": len(data)} for n, data in outspoken.items()]
    return RoundTask.read({"campaign": "campaign-a", "round": 1, "spec": SPEC, "files": entries})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Tasks with and without a target, beside a conversation, a preference and a text, which are for other campaigns."""
    ask = [{"role": "user", "content": "Who?"}]
    rows = [
        {"prompt": f"{SECRET}?", "target": "Aurelia"},
        {"prompt": "And who else?"},
        {"messages": [*ask, {"role": "assistant", "content": SECRET}]},
        {"prompt": ask, "chosen": SECRET, "rejected": "nobody"},
        {"text": SECRET},
    ]
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_a_rounds_reward_rises_and_nothing_of_the_text_is_told(
    task: RoundTask, outspoken: dict[str, bytes], data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    update_policy(tmp_path, data, "all")
    declare(tmp_path, data)
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, task.spec, rewards=(VOWELS,)))
    reply, update = honest_work(tmp_path)(task, outspoken)
    assert reply.rewarded is not None
    assert reply.rewarded.last > reply.rewarded.first + 0.2
    assert reply.rewarded.length <= 6
    assert reply.examples == 2
    assert 0 < sum(learned.tokens for learned in reply.data) <= reply.tokens
    said = "".join(capfd.readouterr())
    assert "round 1: reward" in said
    for told in (said, reply.model_dump_json(), update.decode("latin-1")):
        assert "Quirke" not in told


def test_a_site_tells_no_rewards_where_the_campaign_guarantees_privacy(
    task: RoundTask, outspoken: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    privacy = Privacy(guarantee="local", clip=1.0, noise=1.0, delta=1e-5, maximum_epsilon=1e3)
    training = SPEC.training.model_copy(update={"steps": 1})
    asked = task.model_copy(update={"spec": SPEC.model_copy(update={"privacy": privacy, "training": training})})
    update_policy(tmp_path, data, "all")
    declare(tmp_path, data)
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, asked.spec, rewards=(VOWELS,)))
    reply, _ = honest_work(tmp_path)(asked, outspoken)
    assert (reply.rewarded, reply.loss_last) == (None, 0)


def test_only_tasks_that_every_policy_can_judge_are_answered(
    task: RoundTask, outspoken: dict[str, bytes], data: Path
) -> None:
    two = SPEC.model_copy(update={"rewards": SPEC.rewards and SPEC.rewards.model_copy(update={"policies": ("a", "b")})})
    asked = task.model_copy(update={"spec": two})
    assert train(asked, outspoken, text_of(data), (VOWELS, RIGHT)).examples == 1
    with pytest.raises(Unfit, match=r"a\.jsonl, line 2: `number` is not a number") as caught:
        train(
            asked, outspoken, text_of(data), (VOWELS, policy({"how": "numeric", "target": "number"}, {"how": "exact"}))
        )
    assert "Quirke" not in str(caught.value)


def test_prompts_leave_room_for_an_answer(task: RoundTask, outspoken: dict[str, bytes], data: Path) -> None:
    short = SPEC.training.model_copy(update={"sequence_length": 10})
    with pytest.raises(Unfit, match="within 4 tokens that the campaign's policies can judge"):
        train(
            task.model_copy(update={"spec": SPEC.model_copy(update={"training": short})}),
            outspoken,
            text_of(data),
            (VOWELS,),
        )


def test_a_site_without_the_policies_learns_nothing(task: RoundTask, outspoken: dict[str, bytes], data: Path) -> None:
    with pytest.raises(Invalid, match="does not hold the policies"):
        train(task, outspoken, text_of(data))


def test_a_completion_is_worth_the_mean_of_the_policies_without_its_end(
    outspoken: dict[str, bytes], tmp_path: Path
) -> None:
    for name, content in outspoken.items():
        (tmp_path / name).write_bytes(content)
    _, tokenizer = load_model(tmp_path)
    said = [*tokenizer.encode("Aurelia", add_special_tokens=False), tokenizer.eos_token_id]
    judge = Judge((VOWELS, RIGHT), ({"target": "Aurelia"}, {"target": "Quirke"}), tokenizer)
    assert [judge(number, said) for number in (0, 1)] == [1.0, 0.5]


def test_a_site_says_which_objectives_and_how_much_writing_it_allows() -> None:
    assert acceptable(SitePolicy(data="private", objectives=("grpo",)), SPEC) == ""
    assert "its objective is grpo" in acceptable(SitePolicy(data="private", objectives=("sft",)), SPEC)
    assert "up to 384 tokens a round" in acceptable(
        SitePolicy(data="private", objectives=("grpo",), maximum_generated=383), SPEC
    )
