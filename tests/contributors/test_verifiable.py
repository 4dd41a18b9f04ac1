"""Tasks from the public generators: rows that policies can judge, and judge as the generators do."""

from __future__ import annotations

import pytest

from contributors.verifiable import generators, task_rows
from learning.rewards.policies import reward
from protos.documents.rewards import RewardPolicy, check_reward_row
from trust.errors import Invalid, NotFound

gym = pytest.importorskip("reasoning_gym", reason="an extra of its own: pip install 'coalition[tasks]'")
NAMES = ("basic_arithmetic", "gcd", "word_sequence_reversal")


def policy(*rules: dict[str, object]) -> RewardPolicy:
    written = {"format": "coalition-reward/v1", "name": "right", "description": "The right answer."}
    return RewardPolicy.read({**written, "rules": [{"name": f"r{n}", "check": rule} for n, rule in enumerate(rules)]})


def test_the_same_seed_writes_the_same_tasks_of_every_generator_in_turn() -> None:
    rows = list(task_rows(NAMES, 7, seed=3))
    assert rows == list(task_rows(NAMES, 7, seed=3))
    assert rows != list(task_rows(NAMES, 7, seed=4))
    assert [row["source"] for row in rows] == [f"reasoning-gym/{NAMES[n % 3]}" for n in range(7)]
    assert [isinstance(row.get("number"), float) for row in rows[:3]] == [True, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_judges_an_answer_as_its_generator_does(name: str) -> None:
    exact = policy({"how": "exact"})
    dataset = gym.create_dataset(name, seed=3, size=5)
    for entry, row in zip(dataset, task_rows([name], 5, seed=3), strict=True):
        check_reward_row(exact, row)
        for said in (entry["answer"], f"{entry['answer']}x", "no"):
            ours = reward(exact.model_dump(mode="json", exclude_none=True), row, said).value
            assert ours == (dataset.score_answer(said, entry) == 1)


def test_generators_that_judge_with_code_of_their_own_are_refused() -> None:
    judged = generators()
    assert 20 < sum(judged.values()) < len(judged)
    with pytest.raises(Invalid, match="countdown judges answers with code"):
        list(task_rows(["gcd", "countdown"], 2, seed=0))
    with pytest.raises(NotFound, match="no generator 'nonsense'"):
        list(task_rows(["nonsense"], 2, seed=0))
