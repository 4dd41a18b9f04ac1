from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from learning.architectures import build_model
from learning.pretraining import block_loss
from learning.routing import Routers, balance_loss, z_loss
from tests.learning.test_architectures import FAMILIES

ROUTED = [family for family in FAMILIES if family.family != "olmo3"]
BLOCKS = torch.arange(64).reshape(2, 32)


def test_the_balance_is_that_of_transformers() -> None:
    logits = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    expected = load_balancing_loss_func((logits,), num_experts=8, top_k=2)
    assert torch.allclose(balance_loss(logits, logits.topk(2, -1).indices), expected)


def test_an_even_router_costs_least() -> None:
    even = torch.arange(8).repeat(10).unsqueeze(-1)
    flat = balance_loss(torch.zeros(80, 8), even)
    assert flat == pytest.approx(1.0)
    crowded = torch.zeros(80, 8)
    crowded[:, 3] = 5.0
    assert balance_loss(crowded, torch.full((80, 1), 3)) > 5


def test_small_logits_cost_little() -> None:
    assert z_loss(torch.full((4, 2), -torch.log(torch.tensor(2.0)))) == pytest.approx(0.0, abs=1e-6)
    assert z_loss(torch.full((4, 2), 9.0)) > 80


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("family", ROUTED, ids=lambda family: family.family)
def test_every_router_of_every_family_is_heard_once_a_pass(family: Any, recompute: bool) -> None:
    model = build_model(family.hugging_face(), seed=0).train()
    if recompute:
        model.activation_checkpointing_enable()
    routers = Routers(model)
    for _ in range(2):
        loss = block_loss(model, BLOCKS)
        extra = routers.loss(1.0, 0.0)
        assert 0.5 < float(extra.detach()) < 6  # about the picks a token: 2
        (loss + extra).backward()
    gates = [p for name, p in model.named_parameters() if name.endswith("gate.weight")]
    assert gates
    assert all(gate.grad is not None and gate.grad.abs().sum() > 0 for gate in gates)


def test_a_dense_model_has_nothing_to_balance(shape: dict[str, Any]) -> None:
    model = build_model(shape, seed=0)
    routers = Routers(model)
    block_loss(model, BLOCKS)
    assert routers.loss(0.01, 0.001) == 0.0
