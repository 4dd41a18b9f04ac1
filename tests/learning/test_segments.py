"""Experts by segments are those of `transformers`, multiplied as a group, to the rounding of the dtype: losses and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from learning import segments
from learning.architectures import build_model
from learning.export import save_model
from learning.pretraining import row_losses
from learning.routing import Routers
from learning.segments import by_segments
from tests.learning.test_architectures import FAMILIES, SMALL
from tests.learning.test_routing import ROUTED

OLMOE = next(family for family in FAMILIES if family.family == "olmoe")
BLOCKS = torch.randint(1, 512, (2, 64), generator=torch.Generator().manual_seed(0))


def _pair(family: Any, dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, PreTrainedModel]:
    usual, ours = (build_model(family.hugging_face(), seed=0).to(dtype).train() for _ in range(2))
    by_segments(ours)
    return usual, ours


def _trained(model: PreTrainedModel) -> tuple[Tensor, list[Tensor]]:
    routers = Routers(model)
    loss = row_losses(model, BLOCKS)[1] + routers.loss(0.1, 0.1)
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("family", ROUTED, ids=lambda family: family.family)
def test_losses_and_gradients_are_those_of_the_group(family: Any, recompute: bool) -> None:
    usual, ours = _pair(family)
    if recompute:
        ours.activation_checkpointing_enable()
    torch.testing.assert_close(_trained(ours), _trained(usual))


def test_in_bf16_they_are_as_near_to_fp32_as_the_group_s() -> None:
    _, exact = _trained(_pair(OLMOE)[0])
    apart = []
    for model in _pair(OLMOE, torch.bfloat16):
        _, found = _trained(model)
        apart.append(sum(float((mine.float() - theirs).norm()) for mine, theirs in zip(found, exact, strict=True)))
    assert apart[1] < 1.1 * apart[0]


@pytest.mark.parametrize("family", ROUTED, ids=lambda family: family.family)
def test_experts_gated_by_silu_need_no_group(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nemotron's have no gate: they stay a group."""
    asked = []
    grouped = segments.grouped_mm_experts_forward

    def heard(*given: Any) -> Tensor:
        asked.append(family.family)
        return grouped(*given)

    monkeypatch.setattr(segments, "grouped_mm_experts_forward", heard)
    _trained(_pair(family, torch.bfloat16)[1])
    assert set(asked) == {"nemotron_h"} & {family.family}


def test_an_expert_that_nobody_picks_has_no_gradient() -> None:
    usual, ours = _pair(OLMOE)
    experts = ours.model.layers[0].mlp.experts
    states = torch.randn(5, SMALL["hidden_size"], requires_grad=True)
    picks, weights = torch.tensor([[1, 3]] * 5), torch.rand(5, 2, requires_grad=True)
    experts(states, picks, weights).square().sum().backward()
    found = [states.grad, weights.grad, experts.down_proj.grad, experts.gate_up_proj.grad]
    assert not experts.down_proj.grad[[0, 2]].any()
    assert not experts.gate_up_proj.grad[[0, 2]].any()
    states.grad = weights.grad = None
    experts = usual.model.layers[0].mlp.experts
    experts(states, picks, weights).square().sum().backward()
    torch.testing.assert_close(found, [states.grad, weights.grad, experts.down_proj.grad, experts.gate_up_proj.grad])


def test_the_same_pass_twice_has_the_same_bits() -> None:
    first, again = (_trained(_pair(OLMOE, torch.bfloat16)[1]) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert all(torch.equal(one, other) for one, other in zip(first[1], again[1], strict=True))


def test_what_is_exported_says_nothing_of_it(tokenizer: Any, tmp_path: Any) -> None:
    family = OLMOE.model_copy(update={"vocab_size": len(tokenizer)})
    for name, model in zip(("usual", "ours"), _pair(family), strict=True):
        save_model(model, tokenizer, tmp_path / name)
    for file in (tmp_path / "usual").iterdir():
        assert file.read_bytes() == (tmp_path / "ours" / file.name).read_bytes()
