"""A site's record of what its answers cost: durable before they leave, never too low, and the end of its budget."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contributors.site.budget import Recorded, Spending, after, at_least, unaffordable
from contributors.site.spending import charge, check_budget, note_recorded, read_spending
from learning.privacy.accounting import epsilon_of, mu_of
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec, SitePolicy
from protos.documents.privacy import PrivacyBudget
from protos.documents.rounds import RoundTask
from trust.digests import digest_bytes
from trust.errors import Corrupt, Denied

FILE = FileEntry(path="config.json", digest=digest_bytes(b"{}"), size=2)
OPEN = SitePolicy(data="private")


def spec(rounds: int = 10, **privacy: Any) -> CampaignSpec:
    training = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
    given = {"name": "rounds", "base_model": "tiny-1", "rounds": rounds, "minimum_members": 1, "training": training}
    whole = {"guarantee": "local", "clip": 0.5, "noise": 1.0, "delta": 1e-6, "maximum_epsilon": 100} | privacy
    return CampaignSpec.read(given | ({} if privacy == {"none": 1} else {"privacy": whole}))


def task(number: int = 1, campaign: str = "campaign-a", **more: Any) -> RoundTask:
    return RoundTask(campaign=campaign, round=number, spec=spec(**more), files=(FILE,))


def limited(epsilon: float, **more: Any) -> SitePolicy:
    return OPEN.model_copy(update={"privacy": PrivacyBudget(epsilon=epsilon, **more)})


def cost(*answers: tuple[int, float]) -> float:
    return epsilon_of(mu_of(answers), 1e-6)


def test_a_budget_ends_across_campaigns_with_one_sentence(tmp_path: Path) -> None:
    """Each campaign is within it, and both together are not."""
    policy = limited(cost((3, 1.0)))
    charge(tmp_path, task(1), policy)
    charge(tmp_path, task(2), policy)
    charge(tmp_path, task(1, "campaign-b"), policy)
    for act in (check_budget, charge):
        with pytest.raises(Denied, match=r"^Round 2 of campaign-b would bring .* epsilon 11 at delta 1e-06, over"):
            act(tmp_path, task(2, "campaign-b"), policy)
    assert {each.campaign: each.answers for each in read_spending(tmp_path).campaigns} == {
        "campaign-a": 2,
        "campaign-b": 1,
    }


def test_a_campaign_that_asks_more_often_than_it_promised_is_refused_without_a_budget(tmp_path: Path) -> None:
    twice = {"rounds": 2, "maximum_epsilon": cost((2, 1.0))}
    charge(tmp_path, task(1, **twice), OPEN)
    charge(tmp_path, task(1, **twice), OPEN)
    with pytest.raises(Denied, match="that it promises"):
        charge(tmp_path, task(2, **twice), OPEN)


def test_the_same_task_again_costs_nothing_where_the_hub_adds_the_noise(tmp_path: Path) -> None:
    """Our own noise is new in every answer; of the hub's there is one model a round, unless it asks something else."""
    for _ in range(2):
        charge(tmp_path, task(1), OPEN)
        charge(tmp_path, task(1, "campaign-b", guarantee="central"), OPEN)
    other = task(1, "campaign-b", guarantee="central").model_copy(update={"files": (FILE, FILE)})
    charge(tmp_path, other, OPEN)
    assert [(each.campaign, each.answers) for each in read_spending(tmp_path).campaigns] == [
        ("campaign-a", 2),
        ("campaign-b", 2),
    ]


def test_rounds_without_privacy_leave_no_record(tmp_path: Path) -> None:
    charge(tmp_path, task(none=1), OPEN)
    assert not (tmp_path / "site").exists()


def test_a_lost_record_is_made_again_from_the_ledger(tmp_path: Path) -> None:
    charge(tmp_path, task(1), OPEN)
    note_recorded(tmp_path, [Recorded("campaign-a", 1.0, 1), Recorded("campaign-b", 2.0, 4)])
    before = read_spending(tmp_path)
    assert before.mu() == mu_of([(1, 1.0), (4, 2.0)])
    (tmp_path / "site" / "spending.json").unlink()
    note_recorded(tmp_path, [Recorded("campaign-a", 1.0, 1), Recorded("campaign-b", 2.0, 4)])
    assert read_spending(tmp_path).mu() == before.mu()
    charge(tmp_path, task(2), OPEN)
    assert read_spending(tmp_path).mu() == mu_of([(2, 1.0), (4, 2.0)])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=20))
def test_whatever_happens_the_record_only_grows_and_is_never_below_the_ledger(
    acts: list[tuple[str, int, bool]],
) -> None:
    known = Spending()
    for name, number, answered in acts:
        campaign = f"campaign-{name}"
        asked = task(number + 1, campaign)
        assert asked.spec.privacy is not None
        ledger = Recorded(campaign, 1.0, number)
        grown = after(known, asked, asked.spec.privacy) if answered else at_least(known, ledger)
        assert grown.mu() >= known.mu()
        assert answered or grown.of(campaign, 1.0).answers >= number
        known = grown


def test_a_record_that_was_changed_by_hand_stops_the_site_and_tells_no_path(tmp_path: Path) -> None:
    charge(tmp_path, task(1), OPEN)
    (tmp_path / "site" / "spending.json").write_text('{"campaigns": [{"campaign": "campaign-a", "answers": -1}]}')
    with pytest.raises(Corrupt, match=r"^The record of what this site spent cannot be read\.$") as refused:
        charge(tmp_path, task(2), OPEN)
    assert str(tmp_path) in refused.value.todo


ANSWERING = """
import sys
from pathlib import Path
from contributors.site.spending import charge
from tests.contributors.site.test_spending import OPEN, task
for number in range(1, 1000):
    charge(Path(sys.argv[1]), task(number, rounds=1000, maximum_epsilon=1e6), OPEN)
    print(number, flush=True)
"""


def test_kill_9_at_any_moment_forgets_no_answer_that_left(tmp_path: Path) -> None:
    left = 0
    for lives in range(1, 4):
        process = subprocess.Popen([sys.executable, "-c", ANSWERING, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(5 * lives):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        left += 5 * lives + len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
        noted = read_spending(tmp_path).of("campaign-a", 1.0).answers
        assert left <= noted <= left + lives


def test_a_site_joins_no_campaign_that_it_could_not_finish_and_its_own_rounds_count_once() -> None:
    spent = at_least(Spending(), Recorded("campaign-a", 1.0, 3))
    budget = PrivacyBudget(epsilon=cost((5, 1.0)))
    assert unaffordable(budget, spec(rounds=2), spent) == ""
    assert "with what was spent before, and the site's budget" in unaffordable(budget, spec(rounds=3), spent)
    assert unaffordable(budget, spec(rounds=3), spent.besides("campaign-a")) == ""


@pytest.mark.parametrize(
    ("budget", "asked", "why"),
    [
        (None, spec(none=1), ""),
        (None, spec(), ""),
        (None, spec(maximum_epsilon=1), "its rounds cost epsilon .*, and it promises 1"),
        (PrivacyBudget(epsilon=8), spec(none=1), "guarantees no privacy"),
        (PrivacyBudget(epsilon=8), spec(), "its rounds cost epsilon .* budget is 8"),
        (PrivacyBudget(epsilon=8), spec(noise=5), "^$"),
        (PrivacyBudget(epsilon=8), spec(noise=5, guarantee="central"), "^$"),
        (PrivacyBudget(epsilon=8, guarantee="local"), spec(noise=5, guarantee="central"), "the hub would see"),
    ],
)
def test_what_a_site_joins(budget: PrivacyBudget | None, asked: CampaignSpec, why: str) -> None:
    assert re.search(why or "^$", unaffordable(budget, asked))
