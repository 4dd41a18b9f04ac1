from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM

from learning.adapters import ALL_LINEAR, AdapterShape, adapter_state, attach, load_adapter_state
from learning.architectures import build_model
from learning.weights import moved
from trust.errors import Invalid

ADAPTER = AdapterShape(rank=4, alpha=8)
INPUTS = torch.arange(1, 21).reshape(2, 10)


def _trained(state: dict[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(tensor.shape, generator=generator) * 0.3 for name, tensor in state.items()}


def test_a_fresh_adapter_changes_nothing_and_alone_trains(model: LlamaForCausalLM) -> None:
    before = model(INPUTS).logits
    adapted = attach(model, ADAPTER, seed=1)
    assert torch.equal(adapted(INPUTS).logits, before)
    assert all("lora_" in name for name, p in adapted.named_parameters() if p.requires_grad)


def test_the_seed_decides_the_start(shape: dict[str, Any]) -> None:
    one, same, other = (adapter_state(attach(build_model(shape, 0), ADAPTER, seed)) for seed in (1, 1, 2))
    assert list(one) == sorted(one)
    assert len(one) == 2 * len(ALL_LINEAR) * shape["num_hidden_layers"]
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert {(t.dtype, t.device.type) for t in one.values()} == {(torch.float32, "cpu")}


def test_the_state_goes_in_and_comes_out(model: LlamaForCausalLM) -> None:
    adapted = attach(model, ADAPTER, seed=1)
    state = _trained(adapter_state(adapted))
    load_adapter_state(adapted, state)
    out = adapter_state(adapted)
    assert all(torch.equal(out[name], state[name]) for name in state)
    out[next(iter(out))].zero_()
    assert not torch.equal(adapter_state(adapted)[next(iter(out))], out[next(iter(out))])


def test_loading_is_strict(model: LlamaForCausalLM) -> None:
    adapted = attach(model, ADAPTER, seed=1)
    state = adapter_state(adapted)
    name = next(iter(state))
    for wrong in (
        {key: tensor for key, tensor in state.items() if key != name},
        {**state, "more": torch.zeros(1)},
        {**state, name: torch.zeros(1)},
    ):
        with pytest.raises(Invalid):
            load_adapter_state(adapted, wrong)


def test_a_merged_model_computes_what_the_adapted_one_does(model: LlamaForCausalLM) -> None:
    plain = copy.deepcopy(model)
    adapted = attach(copy.deepcopy(model), ADAPTER, seed=1)
    state = _trained(adapter_state(adapted))
    load_adapter_state(adapted, state)
    merged = moved(model, ADAPTER.change(state))
    assert type(merged) is LlamaForCausalLM
    assert all(p.requires_grad for p in merged.parameters())
    assert set(merged.state_dict()) == set(plain.state_dict())
    with torch.no_grad():
        expected = adapted.eval()(INPUTS).logits
        torch.testing.assert_close(merged(INPUTS).logits, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(expected, plain(INPUTS).logits, atol=1e-2)
        assert torch.equal(model(INPUTS).logits, plain(INPUTS).logits)  # the base is as it was
    prefix = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    weight = plain.model.layers[0].self_attn.q_proj.weight + 2 * state[f"{prefix}B.weight"] @ state[f"{prefix}A.weight"]
    torch.testing.assert_close(merged.model.layers[0].self_attn.q_proj.weight, weight)


def test_impossible_adapters_are_refused(model: LlamaForCausalLM) -> None:
    for wrong in ({"rank": 0, "alpha": 1.0}, {"rank": 1, "alpha": 0.0}, {"rank": 1, "alpha": 1.0, "dropout": 1.0}):
        with pytest.raises(Invalid):
            AdapterShape(**wrong)  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        attach(model, AdapterShape(2, 4.0, ("no_such_layer",)), seed=0)


DORA = AdapterShape(rank=4, alpha=8, targets=("q_proj", "down_proj"), magnitudes=True)


def test_dora_travels_as_peft_writes_it_and_merges_as_peft_does(model: LlamaForCausalLM, tmp_path: Path) -> None:
    """An update is an adapter file of PEFT's, and the merged model computes what PEFT's does, to rounding."""
    prepared = DORA.prepare(copy.deepcopy(model), seed=1)
    state = {name: tensor + _trained({name: tensor})[name] / 9 for name, tensor in prepared.start.items()}
    prepared.load(state)
    prepared.model.save_pretrained(str(tmp_path))
    written = load_file(tmp_path / "adapter_model.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) for name in state)
    assert sum(name.endswith("q_proj.lora_magnitude_vector") for name in state) == len(model.model.layers)
    merged = moved(model, DORA.change(state, model))
    with torch.no_grad():
        expected = prepared.model.eval()(INPUTS).logits
        torch.testing.assert_close(merged(INPUTS).logits, expected, rtol=1e-4, atol=1e-4)
        theirs = prepared.model.merge_and_unload()
    assert not torch.allclose(merged(INPUTS).logits, model(INPUTS).logits, atol=1e-3)
    for name, weight in theirs.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name), weight, rtol=1e-5, atol=1e-5)


def test_dora_begins_at_the_lengths_of_the_rows_and_is_held_to_the_size_of_its_factors(
    model: LlamaForCausalLM,
) -> None:
    before = copy.deepcopy(model.state_dict())
    start, furthest = DORA.origin(model, seed=1)
    name = "model.layers.0.self_attn.q_proj"
    torch.testing.assert_close(
        start[f"base_model.model.{name}.lora_magnitude_vector"], before[f"{name}.weight"].norm(dim=1)
    )
    assert all(bool((change.abs() < 1e-6).all()) for _, change in DORA.change(start, model))
    plain = AdapterShape(DORA.rank, DORA.alpha, DORA.targets)
    assert furthest == pytest.approx(plain.origin(model, seed=1)[1])
    assert furthest == pytest.approx(
        10 * sum(float(t.square().sum()) for n, t in start.items() if "lora_A" in n) ** 0.5
    )
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[each], after[each]) for each in before)
    with pytest.raises(Invalid, match="without the model"):
        list(DORA.change(start))


def test_a_prepared_model_computes_what_it_did_before_it_trained(model: LlamaForCausalLM) -> None:
    for shape in (ADAPTER, DORA):
        prepared = shape.prepare(copy.deepcopy(model), seed=1)
        prepared.load({name: tensor + 0.1 for name, tensor in prepared.start.items()})
        with torch.no_grad(), prepared.as_it_was():
            torch.testing.assert_close(prepared.model.eval()(INPUTS).logits, model(INPUTS).logits)
        assert not torch.allclose(prepared.model(INPUTS).logits, model(INPUTS).logits, atol=1e-2)
