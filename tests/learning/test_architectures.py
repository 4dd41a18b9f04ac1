from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from learning.architectures import build_model, configuration
from learning.export import load_model, save_model
from learning.pretraining import block_loss
from protos.documents.architectures import Mistral4, Mixtral, Nemotron, Olmo, Olmoe
from trust.errors import Invalid

SMALL: dict[str, Any] = {"vocab_size": 512, "hidden_size": 32, "heads": 2, "context_length": 64}
ROUTED = {"experts": 4, "experts_per_token": 2, "intermediate_size": 16}
FAMILIES = [
    Olmo(**SMALL, family="olmo3", layers=4, kv_heads=1, intermediate_size=64, sliding_window=16),
    Mixtral(**SMALL, **ROUTED, family="mixtral", layers=2, kv_heads=1),
    Olmoe(**SMALL, **ROUTED, family="olmoe", layers=2, kv_heads=1),
    Mistral4(**SMALL, **ROUTED, family="mistral4", layers=2, q_lora_rank=16, kv_lora_rank=16, rope_head_size=16,
             plain_head_size=16, value_head_size=16),
    Nemotron(**SMALL, **ROUTED, family="nemotron_h", pattern="MEM*E-", kv_heads=1, head_size=16,
             shared_intermediate_size=16, dense_intermediate_size=32, mamba_heads=4, mamba_head_size=16, mamba_groups=2,
             state_size=16),
]  # fmt: skip


def test_the_seed_decides_the_weights_and_the_global_random_state_stays(shape: dict[str, Any]) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = build_model(shape, 1), build_model(shape, 1), build_model(shape, 2)
    assert torch.equal(torch.rand(3), expected)
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) and a.dtype == torch.float32 for a, b in pairs)
    assert not torch.equal(first.model.embed_tokens.weight, other.model.embed_tokens.weight)


def test_the_end_of_text_row_learns(model: LlamaForCausalLM) -> None:
    model.model(input_ids=torch.tensor([[0, 5]])).last_hidden_state[0, 0, 0].backward()
    assert model.model.embed_tokens.weight.grad[0].abs().sum() > 0


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
def test_every_family_learns(family: Any) -> None:
    """Each class of `transformers` is told its sizes in words that it takes, and every weight gets the gradient that autograd
    finds for torch's own loss."""
    model = build_model(family.hugging_face(), seed=0)
    blocks = torch.randint(1, 512, (2, 32), generator=torch.Generator().manual_seed(0))
    logits = model(input_ids=blocks, use_cache=False).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), blocks[:, 1:].flatten()).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    block_loss(model, blocks).backward()
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], expected)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.family != "mistral4"], ids=lambda family: family.family)
def test_every_family_is_exported_for_public_tools(family: Any, tokenizer: Any, tmp_path: Any) -> None:
    model = build_model(family.hugging_face() | {"vocab_size": len(tokenizer)}, seed=0).eval()
    save_model(model, tokenizer, tmp_path)
    again, _ = load_model(tmp_path)
    blocks = torch.arange(20).reshape(1, 20)
    with torch.no_grad():
        assert torch.equal(again(input_ids=blocks).logits, model(input_ids=blocks).logits)


@pytest.mark.parametrize("values", [{"model_type": "gpt-9"}, {"model_type": "llama", "hidden_size": "wide"}])
def test_a_configuration_that_is_none_is_one_sentence(values: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="no model of this shape"):
        configuration(values)
