from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaForCausalLM

from learning.adapters import AdapterShape, adapter_state, attach
from learning.aggregation.low_rank import LowRankMean, products
from learning.aggregation.means import RunningMean
from learning.weights import moved
from trust.errors import Invalid

IN, OUT = 7, 9


def _adapter(generator: torch.Generator, rank: int) -> dict[str, Tensor]:
    return {
        f"{layer}.lora_{side}.weight": torch.randn(*shape, generator=generator)
        for layer in ("x", "y")
        for side, shape in (("A", (rank, IN)), ("B", (OUT, rank)))
    }


def _mean_of_products(adapters: list[dict[str, Tensor]], weights: list[float]) -> dict[str, Tensor]:
    parts = [products(adapter) for adapter in adapters]
    return {
        layer: sum(part[layer].double() * w for part, w in zip(parts, weights, strict=True)).float() / sum(weights)  # type: ignore[union-attr]
        for layer in ("x", "y")
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0.1, 100)), min_size=1, max_size=5), st.integers(0, 999))
def test_it_is_the_mean_of_the_products(members: list[tuple[int, float]], seed: int) -> None:
    """Of members with ranks of their own."""
    generator = torch.Generator().manual_seed(seed)
    adapters = [_adapter(generator, rank) for rank, _ in members]
    mean = LowRankMean()
    for adapter, (_, weight) in zip(adapters, members, strict=True):
        mean.add(adapter, weight)
    exact = _mean_of_products(adapters, [weight for _, weight in members])
    torch.testing.assert_close(products(mean.result()), exact, rtol=1e-4, atol=1e-4)


def test_weights_that_come_to_less_than_the_whole_average_to_less() -> None:
    adapter = _adapter(torch.Generator().manual_seed(0), 2)
    mean = LowRankMean(whole=1)
    mean.add(adapter, 0.25)
    mean.add(adapter, 0.5)
    expected = {layer: 0.75 * product for layer, product in products(adapter).items()}
    torch.testing.assert_close(products(mean.result()), expected)


def test_averaging_a_and_b_apart_is_biased() -> None:
    """Two members who learned the same thing, written with another sign, cancel out when A and B are averaged."""
    adapter = _adapter(torch.Generator().manual_seed(0), 2)
    other = {name: -tensor for name, tensor in adapter.items()}  # (-B)(-A) = B A
    apart, ours = RunningMean(), LowRankMean()
    for each in (adapter, other):
        apart.add(each, 1)
        ours.add(each, 1)
    assert all(bool((tensor == 0).all()) for tensor in products(apart.result()).values())
    torch.testing.assert_close(products(ours.result()), products(adapter))


def test_a_model_merged_with_the_stack_is_the_mean_of_the_members_models(model: LlamaForCausalLM) -> None:
    shape = AdapterShape(2, 4, ("q_proj", "down_proj"))
    adapted = attach(model, shape, seed=0)
    generator = torch.Generator().manual_seed(1)
    mean, states = LowRankMean(), []
    for weight in (1.0, 3.0):
        start = adapter_state(adapted)
        states.append({name: torch.randn(tensor.shape, generator=generator) / 9 for name, tensor in start.items()})
        mean.add(states[-1], weight)
    plain = adapted.unload()
    members = [moved(plain, shape.change(state)).state_dict() for state in states]
    found = moved(plain, shape.change(mean.result())).state_dict()
    expected = {name: (members[0][name] + 3 * members[1][name]) / 4 for name in found}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_is_no_adapter_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, adapter = LowRankMean(), _adapter(generator, 2)
    with pytest.raises(Invalid, match="no update"):
        mean.result()
    mean.add(adapter, 1)
    for unfit in (
        {name: tensor for name, tensor in adapter.items() if "B" not in name},
        adapter | {"x.lora_A.weight": torch.randn(3, IN)},
        adapter | {"x.lora_A.weight": torch.randn(2, IN + 1)},
        {name: tensor for name, tensor in adapter.items() if name.startswith("x")},
        adapter | {"x.weight": torch.randn(OUT, IN)},
    ):
        with pytest.raises(Invalid):
            mean.add(unfit, 1)
    with pytest.raises(Invalid, match="weigh"):
        mean.add(adapter, 0)
    torch.testing.assert_close(products(mean.result()), products(adapter))
