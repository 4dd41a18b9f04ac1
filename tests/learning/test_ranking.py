"""Ranks and aggregates: what must hold whatever the scores, how sure they are, and what counts how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from learning.ranking import Answered, Answers, Task, comparable, ranking, ranks
from trust.errors import Invalid


@dataclass(frozen=True)
class Item:
    credit: float | None
    log_likelihoods: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    answer: int | None = None


def answers(values: Sequence[float]) -> Answers:
    return Answers.of("f1", [Item(value) for value in values])


def task(
    *models: Sequence[float], suite: str = "one", metric: str = "f1", baseline: float | None = None, author: str = "a"
) -> Task:
    return Task(author, suite, metric, baseline, [answers(model) for model in models])


def answered(values: Sequence[float], sizes: float = 1.0, baseline: float | None = None) -> Answered:
    return Answered("a", "one", "f1", baseline, Answers(np.array(values), np.full(len(values), sizes)))


def test_models_that_are_surely_apart_have_ranks_of_their_own_and_the_others_share_them() -> None:
    chance = np.random.default_rng(1)
    items = [chance.uniform(size=400) for _ in range(4)]
    skills = (0.3, 0.6, 0.61, 0.9)
    found = ranks([task(*[(each + chance.normal(0, 0.1, 400) < skill).tolist() for skill in skills]) for each in items])
    assert [(rank.first, rank.last) for rank in found] == [(4, 4), (2, 3), (2, 3), (1, 1)]


def test_models_that_differ_by_chance_alone_are_seldom_told_apart() -> None:
    chance = np.random.default_rng(2)
    wrong = 0
    for _ in range(60):
        items = [chance.uniform(size=50) for _ in range(5)]
        found = ranks([task(*[(each + chance.normal(0, 0.3, 50) < 0.5).tolist() for _ in range(4)]) for each in items])
        wrong += any((rank.first, rank.last) != (1, 4) for rank in found)
    assert wrong <= 8, "of 60; one in twenty is what the level allows"


def test_the_scale_runs_from_guessing_to_the_best_possible_and_suites_count_alike() -> None:
    half = [1.0] * 5 + [0.0] * 5
    found = ranks(
        [
            task(half, suite="one", metric="acc", baseline=0.25),
            task([1.0] * 10, suite="two"),
            task([0.0] * 10, suite="two"),
        ]
    )
    assert found[0].value == pytest.approx(((0.5 - 0.25) / 0.75 + (1 + 0) / 2) / 2)


def test_an_author_of_many_suites_counts_once() -> None:
    good, bad = [1.0] * 10, [0.0] * 10
    many = [task(bad, suite=str(number), author="law-house") for number in range(9)]
    assert ranks([task(good, suite="own", author="university"), *many])[0].value == pytest.approx(0.5)


def test_of_text_nothing_is_gained_at_eight_bits_per_byte_and_all_at_none() -> None:
    def worth(bits: float) -> float:
        return ranks([Task("a", "one", "bits_per_byte", None, [Answers(np.array([bits, 0.0]), np.array([4.0, 4.0]))])])[
            0
        ].value

    assert worth(16) == pytest.approx(1 - 2 / 8)
    assert worth(800) == 0, "worse than guessing is no worse than that: one broken text would outweigh all else"


def test_a_few_items_that_agree_are_no_proof_and_six_are() -> None:
    assert [rank.last for rank in ranks([task([1.0] * 5, [0.0] * 5)])] == [2, 2]
    assert [rank.last for rank in ranks([task([1.0] * 6, [0.0] * 6)])] == [1, 2]


def test_models_that_answered_other_items_are_not_compared() -> None:
    longer = Answers(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    with pytest.raises(Invalid, match="same items"):
        ranks([Task("a", "one", "bits_per_byte", None, [longer, answers([0.5, 0.5])])])


@pytest.mark.parametrize(
    "odd",
    [
        answered([0.5] * 9),
        answered([0.5] * 8, sizes=2.0),
        answered([0.5] * 8, baseline=1.0),
        answered([0.5] * 8, baseline=0.4),
    ],
)
def test_a_log_that_is_not_of_the_usual_items_takes_its_own_model_out_alone(odd: Answered) -> None:
    models = {name: {"task": answered([0.5] * 8)} for name in ("one", "two", "three")}
    found, tasks = ranking({"odd": {"task": odd}, **models})
    assert (set(found), tasks) == (set(models), ["task"])


def test_a_baseline_that_nobody_can_beat_ranks_nobody() -> None:
    assert ranking({"one": {"task": answered([1.0] * 8, baseline=1.0)}}) == ({}, [])


def test_a_new_suite_and_a_model_that_fails_in_one_end_nobodys_ranking() -> None:
    scored = {"old": {"law", "code"}, "new": {"law", "code", "fresh"}, "base": {"law", "code"}, "broken": {"code"}}
    assert comparable(scored) == (["old", "new", "base"], ["code", "law"])
    assert comparable({}) == ([], [])
    assert comparable({"unscored": set()}) == ([], [])


grids = some.integers(1, 4).flatmap(
    lambda models: some.lists(
        some.lists(some.lists(some.floats(0, 1), min_size=3, max_size=3), min_size=models, max_size=models),
        min_size=1,
        max_size=3,
    )
)


@settings(max_examples=25, deadline=None)
@given(grids)
def test_ranks_hold_together(grid: list[list[list[float]]]) -> None:
    """The interval holds the model's place; the order of the models does not matter; equals share."""
    found = ranks([task(*models) for models in grid])
    backwards = ranks([task(*reversed(models)) for models in grid])[::-1]
    assert [(rank.first, rank.last) for rank in found] == [(rank.first, rank.last) for rank in backwards]
    assert [rank.value for rank in found] == pytest.approx([rank.value for rank in backwards])
    for rank in found:
        better = sum(other.value > rank.value + 1e-9 for other in found)
        assert rank.first <= 1 + better <= rank.last
        assert rank.low - 1e-9 <= rank.high
    twice = ranks([task(*models, models[0]) for models in grid])
    assert (twice[0].first, twice[0].last) == (twice[-1].first, twice[-1].last)
