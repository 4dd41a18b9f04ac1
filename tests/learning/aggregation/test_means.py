from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learning.aggregation.means import MeanOfGivers, RunningMean
from trust.errors import Invalid

WEIGHTS = st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=8)


def _updates(count: int, seed: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {"a": torch.randn(3, 2, generator=generator), "b": torch.randn(5, generator=generator)} for _ in range(count)
    ]


@settings(max_examples=50, deadline=None)
@given(WEIGHTS, st.integers(0, 999))
def test_it_is_the_weighted_mean_in_any_order(weights: list[float], seed: int) -> None:
    pairs = list(zip(_updates(len(weights), seed), weights, strict=True))
    exact = {n: sum(u[n].double() * w for u, w in pairs) / sum(weights) for n in ("a", "b")}
    for _ in range(2):
        mean = RunningMean()
        for update, weight in pairs:
            mean.add(update, weight)
        for name, tensor in mean.result().items():
            torch.testing.assert_close(tensor, exact[name].float(), rtol=1e-6, atol=1e-7)
        random.Random(seed).shuffle(pairs)
    assert mean.count == len(weights)
    assert mean.weight == pytest.approx(sum(weights))


def test_memory_does_not_grow_with_the_replies() -> None:
    mean = RunningMean()
    for update in _updates(50, 0):
        mean.add(update, 1)
    held = list(vars(mean)["_sums"].values())
    assert sum(tensor.nbytes for tensor in held) == 2 * 11 * 4  # twice the model


def test_the_update_itself_is_left_alone() -> None:
    update = _updates(1, 0)[0]
    before = update["a"].clone()
    mean = RunningMean(update)
    mean.add(update, 3)
    mean.add(update, 4)
    assert torch.equal(update["a"], before)
    torch.testing.assert_close(mean.result()["a"], before)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_unfit_weights_and_shapes_change_nothing(weight: float) -> None:
    mean = RunningMean()
    update = _updates(1, 0)[0]
    with pytest.raises(Invalid):
        mean.result()
    mean.add(update, 1)
    with pytest.raises(Invalid):
        mean.add(update, weight)
    with pytest.raises(Invalid):
        mean.add({"a": update["a"]}, 1)
    assert mean.count == 1
    assert torch.equal(mean.result()["b"], update["b"])


GIVERS = st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.floats(1e-3, 1e6)), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(GIVERS, st.integers(0, 999))
def test_a_tensor_is_averaged_over_those_that_give_it_and_nobody_else_moves_it(
    givers: list[tuple[set[str], float]], seed: int
) -> None:
    """In any order; what nobody gives stays where it was, and what one alone gives counts whole."""
    reference = {name: torch.full((3,), 7.0) for name in "abc"}
    generator = torch.Generator().manual_seed(seed)
    pairs = [({name: torch.randn(3, generator=generator) for name in sorted(held)}, weight) for held, weight in givers]
    for _ in range(2):
        mean = MeanOfGivers(reference)
        for update, weight in pairs:
            mean.add(update, weight)
        if not any(held for held, _ in givers):
            with pytest.raises(Invalid, match="no update"):
                mean.result()
            return
        found = mean.result()
        assert list(found) == ["a", "b", "c"]
        for name, tensor in found.items():
            ours = [(update[name], weight) for update, weight in pairs if name in update]
            exact = sum(each.double() * weight for each, weight in ours) / sum(w for _, w in ours) if ours else 7.0
            torch.testing.assert_close(tensor, torch.as_tensor(exact).float().expand(3), rtol=1e-5, atol=1e-6)
            if len(ours) == 1:
                torch.testing.assert_close(tensor, ours[0][0], rtol=1e-6, atol=0)
        random.Random(seed).shuffle(pairs)


def test_a_giver_of_what_is_not_asked_for_changes_nothing() -> None:
    mean = MeanOfGivers({"a": torch.zeros(3)})
    for wrong, weight in (({"b": torch.ones(3)}, 1.0), ({"a": torch.ones(2)}, 1.0), ({"a": torch.ones(3)}, 0.0)):
        with pytest.raises(Invalid):
            mean.add(wrong, weight)
    with pytest.raises(Invalid, match="no update"):
        mean.result()
