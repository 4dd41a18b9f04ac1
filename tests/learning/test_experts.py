"""Experts in segments, against the group as `transformers` multiplies it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers.integrations.moe import grouped_mm_experts_forward

from learning.architectures import build_model
from learning.experts import SEGMENTS, segments_forward
from tests.learning.test_architectures import FAMILIES

ROUTED = [family for family in FAMILIES if family.family != "olmo3"]


def _experts(family: Any, dtype: torch.dtype) -> Any:
    model = build_model(family.hugging_face(), seed=0).to(dtype)
    assert model.config._experts_implementation == SEGMENTS
    return next(module for module in model.modules() if type(module).__name__.endswith("Experts"))


def _learned(compute: Any, experts: nn.Module, picks: torch.Tensor, dtype: torch.dtype) -> list[Any]:
    """What comes of random states and weights of the picks, and every gradient for a random one of it."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(len(picks), 32, generator=generator).to(dtype).requires_grad_()
    weights = torch.rand(picks.shape, generator=generator).to(dtype).requires_grad_()
    experts.zero_grad()
    found = compute(experts, states, picks, weights)
    found.backward(torch.randn(found.shape, generator=generator).to(dtype))
    return [found.detach(), states.grad, weights.grad, *(parameter.grad for parameter in experts.parameters())]


UNEVEN = torch.tensor([[0, 1], [0, 3], [1, 0], [3, 0], [0, 1]] * 13)  # expert 2 has nothing


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("family", ROUTED, ids=lambda family: family.family)
def test_experts_give_and_learn_what_the_group_does(family: Any, dtype: torch.dtype) -> None:
    experts = _experts(family, dtype)
    for picks in (UNEVEN, UNEVEN[:1], torch.tensor([[2, 3]]).repeat(40, 1)):
        ours = _learned(segments_forward, experts, picks, dtype)
        theirs = _learned(grouped_mm_experts_forward, experts, picks, dtype)
        near = {"rtol": 2e-2, "atol": 1e-2} if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-6}
        torch.testing.assert_close(ours, theirs, **near)


def test_in_bf16_few_numbers_of_rows_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    """For each that is new a kernel is made, which takes longer than a small product."""
    experts = _experts(next(family for family in ROUTED if family.family == "olmoe"), torch.bfloat16)
    rows: set[int] = set()
    multiply = torch.mm

    def counted(left: torch.Tensor, right: torch.Tensor, **into: torch.Tensor) -> torch.Tensor:
        rows.add(len(left))
        return multiply(left, right, **into)

    monkeypatch.setattr(torch, "mm", counted)
    for seed in range(30):
        picks = torch.rand(512, 4, generator=torch.Generator().manual_seed(seed)).topk(2).indices
        with torch.enable_grad():
            segments_forward(experts, torch.zeros(512, 32).bfloat16(), picks, torch.ones(512, 2).bfloat16())
    assert len(rows) < 10
    assert all(count % 16 == 0 for count in rows)


def test_what_is_multiplied_otherwise_is_multiplied_as_a_group() -> None:
    experts = _experts(ROUTED[0], torch.float32)
    states, weights = torch.randn(len(UNEVEN), 32), torch.rand(UNEVEN.shape)
    with torch.no_grad():
        expected = grouped_mm_experts_forward(experts, states, UNEVEN, weights)
        assert torch.equal(segments_forward(experts, states, UNEVEN, weights), expected)
    experts._is_expert_parallel = True  # whose picks may be of no expert here
    picks = torch.where(UNEVEN == 3, experts.num_experts, UNEVEN)
    assert torch.equal(
        segments_forward(experts, states, picks, weights), grouped_mm_experts_forward(experts, states, picks, weights)
    )
