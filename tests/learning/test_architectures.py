from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM

from learning.architectures import LlamaShape, build_model, parameter_count
from trust.errors import Invalid


def test_the_seed_decides_the_weights_and_the_global_random_state_stays(shape: LlamaShape) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = build_model(shape, 1), build_model(shape, 1), build_model(shape, 2)
    assert torch.equal(torch.rand(3), expected)
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) and a.dtype == torch.float32 for a, b in pairs)
    assert not torch.equal(first.model.embed_tokens.weight, other.model.embed_tokens.weight)


@pytest.mark.parametrize("tied", [True, False])
def test_the_count_is_that_of_the_built_model(shape: LlamaShape, tied: bool) -> None:
    shape = replace(shape, tie_embeddings=tied)
    assert parameter_count(shape) == sum(p.numel() for p in build_model(shape, 0).parameters())


def test_a_model_too_large_for_this_machine_is_counted() -> None:
    llama_70b = LlamaShape(128256, 8192, 28672, 80, 64, 8, 8192, tie_embeddings=False)
    assert parameter_count(llama_70b) == 70_553_706_496


def test_the_end_of_text_row_learns(model: LlamaForCausalLM) -> None:
    model.model(input_ids=torch.tensor([[0, 5]])).last_hidden_state[0, 0, 0].backward()
    assert model.model.embed_tokens.weight.grad[0].abs().sum() > 0


@pytest.mark.parametrize(("field", "value"), [("layers", 0), ("hidden_size", 30), ("kv_heads", 3), ("vocab_size", -1)])
def test_sizes_that_do_not_fit_are_named(shape: LlamaShape, field: str, value: int) -> None:
    with pytest.raises(Invalid) as caught:
        replace(shape, **{field: value})
    assert caught.value.field == field
