"""Weights that train themselves: an update is how far they moved, and merging it gives the model that was trained."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedModel

from learning.adaptation import adapt
from learning.architectures import build_model
from learning.updates import check_update, load_tensors, save_tensors
from learning.weights import AllWeights, ExpertWeights, Moving, moved, of_experts, weight_at
from tests.shapes import ROUTED
from trust.errors import Invalid

BLOCKS = torch.randint(1, 320, (8, 32), generator=torch.Generator().manual_seed(0))
INPUTS = torch.arange(1, 21).reshape(2, 10)


@pytest.fixture
def routed() -> PreTrainedModel:
    return build_model(ROUTED["mixtral"][0].hugging_face(), seed=3).eval()


def _trained(prepared: Moving) -> dict[str, Tensor]:
    adapt(prepared.model, BLOCKS.numpy(), 3, 4, 0.01, seed=1, precision="fp32")
    return prepared.state()


def _same(ours: PreTrainedModel, theirs: PreTrainedModel) -> None:
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name), weight, rtol=0, atol=1e-6)


def test_all_weights_train_as_plain_torch_trains_them_and_the_update_leads_there(model: LlamaForCausalLM) -> None:
    plain = copy.deepcopy(model)
    adapt(plain, BLOCKS.numpy(), 3, 4, 0.01, seed=1, precision="fp32")
    prepared = AllWeights().prepare(copy.deepcopy(model), seed=1)
    update = _trained(prepared)
    assert all(torch.equal(weight, plain.get_parameter(name)) for name, weight in prepared.model.named_parameters())
    assert set(update) == {name for name, _ in model.named_parameters()}
    assert {tensor.dtype for tensor in update.values()} == {torch.float32}
    merged = moved(model, AllWeights().change(load_tensors(save_tensors(update))))
    _same(merged, plain)
    with torch.no_grad():
        torch.testing.assert_close(merged(INPUTS).logits, plain.eval()(INPUTS).logits, rtol=1e-4, atol=1e-5)


def test_what_every_update_starts_from_is_no_move_and_bounded_by_the_weights_own_length(
    model: LlamaForCausalLM,
) -> None:
    start, furthest = AllWeights().origin(model, seed=1)
    weights = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert furthest == pytest.approx(float(weights.norm()), rel=1e-5)
    assert all(not tensor.any() and tensor.untyped_storage().nbytes() == 4 for tensor in start.values())
    update = {name: weight.detach() * 0.5 for name, weight in model.named_parameters()}
    assert check_update(update, start, float("inf"), furthest) == pytest.approx(furthest / 2, rel=1e-5)
    with pytest.raises(Invalid, match="over the bound"):
        check_update({name: 3 * tensor for name, tensor in update.items()}, start, float("inf"), furthest)


@pytest.mark.parametrize("trainable", [AllWeights(), ExpertWeights((1,), router=True)])
def test_an_update_goes_in_and_out_and_the_model_remembers_what_it_was(
    trainable: AllWeights | ExpertWeights, routed: PreTrainedModel
) -> None:
    prepared = trainable.prepare(copy.deepcopy(routed), seed=1)
    assert {name: tensor.shape for name, tensor in prepared.start.items()} == {
        name: tensor.shape for name, tensor in trainable.origin(routed, seed=2)[0].items()
    }
    update = {name: torch.full(tensor.shape, 0.1) for name, tensor in prepared.start.items()}
    prepared.load(update)
    torch.testing.assert_close(prepared.state(), update)
    with torch.no_grad():
        other = prepared.model.eval()(INPUTS).logits
        with prepared.as_it_was():
            assert torch.equal(prepared.model(INPUTS).logits, routed(INPUTS).logits)
        assert torch.equal(prepared.model(INPUTS).logits, other)
        assert not torch.allclose(other, routed(INPUTS).logits, atol=1e-3)
    name = next(iter(update))
    for wrong in ({**update, "more": torch.zeros(1)}, {**update, name: torch.zeros(1)}):
        with pytest.raises(Invalid):
            prepared.load(wrong)


@pytest.mark.parametrize("router", [False, True])
def test_experts_train_alone_and_all_else_stays_bit_for_bit(router: bool, routed: PreTrainedModel) -> None:
    prepared = ExpertWeights((1, 3), router).prepare(copy.deepcopy(routed), seed=1)
    update = _trained(prepared)
    assert {name.rpartition(".")[2] for name in update} == {"1", "3"}
    assert any("gate.weight" in name for name in update) is router
    assert all(bool(tensor.any()) for tensor in update.values())
    for name, after in prepared.model.named_parameters():
        before = routed.get_parameter(name)
        ours = {number for number in (1, 3) if f"{name}.{number}" in update}
        if not ours:
            assert torch.equal(after, before), name
        else:
            assert [n for n in range(len(before)) if not torch.equal(after[n], before[n])] == [1, 3]
    _same(moved(routed, ExpertWeights((1, 3), router).change(update)), prepared.model)
    assert set(of_experts(update, [3])) == {name for name in update if name.endswith(".3")}


@pytest.mark.parametrize("family", sorted(ROUTED))
def test_every_family_with_experts_says_which_weights_are_theirs(family: str) -> None:
    architecture, layers = ROUTED[family]
    model = build_model(architecture.hugging_face(), seed=0)
    without, rows = (ExpertWeights((2,), router).origin(model, 0)[0] for router in (False, True))
    assert len(without) == 2 * layers
    assert {name for name in rows if "gate.weight" in name} == rows.keys() - without.keys()
    assert len(rows) == 3 * layers
    assert all(weight_at(model, name).shape == tensor.shape for name, tensor in rows.items())


def test_experts_that_are_not_there_are_refused(model: LlamaForCausalLM, routed: PreTrainedModel) -> None:
    with pytest.raises(Invalid, match="dense"):
        ExpertWeights((0,)).prepare(model, seed=0)
    with pytest.raises(Invalid, match="experts 0 to 3, and no 4"):
        ExpertWeights((4,)).origin(routed, seed=0)
    with pytest.raises(Invalid, match="No expert"):
        ExpertWeights(())
    for name in ("model.nowhere", "model.layers.0.mlp.experts.down_proj.9", "model.layers.0.mlp.experts.down_proj.x"):
        with pytest.raises(Invalid, match="no weight"):
            weight_at(routed, name)
