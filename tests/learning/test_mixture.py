"""Which sequence stands where: shares, epochs, exact totals, and that nothing but place, weights and seed decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.mixture import Mixture, Pool, _below, pools
from learning.packing import batch_at
from trust.errors import Invalid

POOLS = st.lists(
    st.tuples(st.dictionaries(st.text("ab", max_size=3), st.integers(0, 9), min_size=1), st.floats(0.01, 9)),
    min_size=1,
    max_size=4,
).filter(lambda pools: all(sum(sequences.values()) for sequences, _ in pools))


def mixture(found: list[tuple[dict[str, int], float]], seed: int = 3, salt: tuple[int, ...] = ()) -> Mixture:
    """Of pools whose datasets have names of their own."""
    made = [
        Pool({f"{number}{name}": n for name, n in sequences.items()}, weight)
        for number, (sequences, weight) in enumerate(found)
    ]
    return Mixture(made, seed, salt)


@given(st.integers(0, 400), st.integers(0, 2**32))
def test_the_sum_in_few_steps_is_the_sum_in_many(count: int, bound: int) -> None:
    assert _below(count, bound) == sum(i * 2_654_435_769 % 2**32 < bound for i in range(count))


@given(POOLS, st.integers(0, 200), st.integers(1, 60))
@settings(deadline=None)
def test_totals_are_those_of_the_sequences_one_by_one(
    found: list[tuple[dict[str, int], float]], first: int, count: int
) -> None:
    rows = mixture(found).rows(first, count)
    counted = mixture(found).counts(first, count)
    assert {name: n for name, n in counted.items() if n} == Counter(dataset for dataset, _ in rows)


@given(POOLS, st.integers(0, 200), st.integers(1, 60))
@settings(deadline=None)
def test_a_place_holds_the_same_sequence_whoever_asks_from_where(
    found: list[tuple[dict[str, int], float]], first: int, count: int
) -> None:
    straight = mixture(found).rows(0, first + count)
    assert mixture(found).rows(first, count) == straight[first:]


@given(POOLS)
@settings(deadline=None)
def test_every_short_stretch_has_the_shares_of_the_weights(found: list[tuple[dict[str, int], float]]) -> None:
    mixed = mixture(found)
    total = sum(weight for _, weight in found)
    for first in (0, 1000, 123_456):
        counted = mixed.counts(first, 100)
        for number, (_, weight) in enumerate(found):
            share = sum(n for name, n in counted.items() if name[0] == str(number))
            assert share == pytest.approx(100 * weight / total, abs=5)


def test_each_epoch_of_a_pool_visits_every_sequence_once_in_another_order() -> None:
    rows = mixture([({"a": 7, "b": 3}, 1.0)]).rows(0, 30)
    epochs = [rows[begin : begin + 10] for begin in (0, 10, 20)]
    everything = [("0a", i) for i in range(7)] + [("0b", i) for i in range(3)]
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert mixture([({"a": 7, "b": 3}, 1.0)], seed=4).rows(0, 10) != epochs[0]
    assert mixture([({"a": 7, "b": 3}, 1.0)], salt=(1,)).rows(0, 10) != epochs[0]


def test_without_weights_sequences_come_as_blocks_always_did() -> None:
    sequences = {"a": 5, "b": 6}
    blocks = np.arange(11, dtype=np.uint16).repeat(2).reshape(11, 2)
    (pool,) = pools(sequences, {}, {})
    for step in range(9):
        for rank in range(2):
            expected = batch_at(blocks, step, 3, rank, 2, seed=8)[:, 0].tolist()
            rows = Mixture([pool], 8).rows((step * 2 + rank) * 3, 3)
            assert [index + (5 if dataset == "b" else 0) for dataset, index in rows] == expected


def test_domains_without_a_weight_are_left_out_and_those_without_a_sequence_refused() -> None:
    sequences, domains = {"a": 2, "b": 3, "c": 0}, {"a": "law", "b": "code", "c": "chess"}
    assert [pool.sequences for pool in pools(sequences, domains, {"law": 1.0})] == [{"a": 2}]
    with pytest.raises(Invalid, match="of domain chess hold less than one sequence"):
        pools(sequences, domains, {"law": 1.0, "chess": 1.0})
    with pytest.raises(Invalid, match="The datasets hold less than one sequence"):
        pools({"c": 0}, domains, {})
