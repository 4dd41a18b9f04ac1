"""A policy's document and what it makes of completions, together: the one is nothing without the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.grading import MAX_OUTPUT
from learning.rewards.policies import Reward, named, reward
from protos.documents.rewards import RewardPolicy, check_reward_row
from trust.errors import Invalid

ROW = {"prompt": "How much, and who says so?", "target": "12", "amount": 12, "sources": ["who-2024", "ema:7"]}


def _policy(*rules: dict[str, Any]) -> RewardPolicy:
    named_rules = [{"name": f"rule-{n}", **rule} for n, rule in enumerate(rules)]
    return RewardPolicy.read(
        {"format": "coalition-reward/v1", "name": "care", "description": "How to answer.", "rules": named_rules}
    )


def _reward(completion: str, *rules: dict[str, Any]) -> Reward:
    policy = _policy(*rules)
    check_reward_row(policy, ROW)
    return reward(policy.model_dump(mode="json", exclude_none=True), ROW, completion)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ({"how": "exact"}, " 12\n", "13"),
        ({"how": "numeric", "target": "amount"}, "It is 12.0 mg.", "It is 120 mg."),
        ({"how": "regex", "pattern": r"(?i)^answer: (\d+)$", "target": "target"}, "Answer: 12", "Answer: 13"),
        ({"how": "json_schema", "json_schema": {"type": "object", "required": ["dose"]}}, '{"dose": 1}', "{dose: 1}"),
        ({"how": "contains", "texts": ["see a doctor", "DOSE"]}, "The dose... See a Doctor!", "The dose."),
        ({"how": "contains", "texts": ["mg", "µg"], "which": "any"}, "12 ΜG", "12 g"),
        ({"how": "forbidden", "terms": ["guaranteed cure"]}, "A cure is not guaranteed.", "A Guaranteed\n cure!"),
        ({"how": "forbidden", "terms": ["ass"]}, "Assess the class.", "An ass."),
        ({"how": "forbidden", "terms": ["数据"]}, "没有", "我的数据是"),
        ({"how": "forbidden", "terms": ["secret"]}, "!", "A ｓｅｃｒｅｔ."),
        ({"how": "length", "least": 2, "most": 3}, "two words", "one"),
        ({"how": "length", "unit": "characters", "most": 4}, "four", "fives"),
        ({"how": "citation"}, "12 [who-2024], see [1, 2].", "12, as is known."),
        ({"how": "citation", "least": 2}, "[who-2024] and [ema:7]", "[who-2024] and [who-2024]"),
        ({"how": "citation"}, "12 [ema:7]", "12 [ema:7] [made-up]"),
    ],
)
def test_every_check_tells_good_from_bad(check: dict[str, Any], good: str, bad: str) -> None:
    assert _reward(good, {"check": check}).value == 1
    assert _reward(bad, {"check": check}).value == 0


def test_rules_are_weighed_and_required_ones_decide() -> None:
    rules = [
        {"check": {"how": "numeric", "target": "amount"}, "weight": 3},
        {"check": {"how": "length", "most": 2}, "weight": 1},
        {"check": {"how": "forbidden", "terms": ["secret"]}, "weight": 0, "required": True},
    ]
    assert _reward("12 mg", *rules) == Reward(1.0, {"rule-0": 1, "rule-1": 1, "rule-2": 1}, ())
    assert _reward("it is 12 mg", *rules).value == 0.75
    assert _reward("12 secret", *rules) == Reward(0.0, {"rule-0": 1, "rule-1": 1, "rule-2": 0}, ("rule-2",))


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["naïve", "two words", "数据"]))
def test_a_forbidden_term_is_found_wherever_it_stands(text: str, term: str) -> None:
    assert named(f"{text} {term.upper()}! {text}", [term]) == [term]


def test_a_long_completion_takes_no_longer_than_its_length() -> None:
    """A pattern on which a backtracking engine would not end, and what stands behind the limit counts nothing."""
    endless = {"check": {"how": "regex", "pattern": "(a|a)*(a|aa)+$x"}}
    assert _reward("a" * 10 * MAX_OUTPUT, endless).value == 0
    assert _reward("a" * MAX_OUTPUT + " secret", {"check": {"how": "forbidden", "terms": ["secret"]}}).value == 1


@pytest.mark.parametrize(
    "rule",
    [
        {"check": {"how": "regex", "pattern": "("}},
        {"check": {"how": "python", "code": "1"}},
        {"check": {"how": "length", "least": 5, "most": 4}},
        {"check": {"how": "forbidden", "terms": []}},
        {"check": {"how": "forbidden", "terms": ["!!"]}},
        {"check": {"how": "exact"}, "weight": 0},
        {"check": {"how": "exact"}, "weight": float("inf")},
        {"check": {"how": "exact"}, "code": "x"},
    ],
)
def test_what_is_no_policy_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        _policy(rule)


def test_a_row_holds_what_the_rules_ask_for() -> None:
    policy = _policy({"check": {"how": "citation"}}, {"check": {"how": "exact"}})
    for change in ({"sources": []}, {"sources": "who"}, {"sources": [7]}, {"target": None}):
        with pytest.raises(Invalid):
            check_reward_row(policy, ROW | change)
    with pytest.raises(Invalid, match="share a name"):
        _policy({"name": "same", "check": {"how": "exact"}}, {"name": "same", "check": {"how": "exact"}})
