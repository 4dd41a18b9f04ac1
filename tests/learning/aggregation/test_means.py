from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learning.aggregation.means import RunningMean
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
