from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from learning.adaptation import adapt
from learning.adapters import AdapterShape, adapter_state, attach
from learning.packing import Blocks, pack
from learning.pretraining import Precision
from learning.tokenizer import encode_documents
from trust.errors import Invalid


@pytest.fixture(scope="module")
def blocks(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> Blocks:
    return pack(encode_documents(tokenizer, texts), 32, 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_site_learns_its_text(model: LlamaForCausalLM, blocks: Blocks, precision: Precision) -> None:
    adapted = attach(model, AdapterShape(8, 16), seed=0)
    seen: list[int] = []
    result = adapt(adapted, blocks, 30, 4, 2e-2, 0, lambda step, loss: seen.append(step), precision)
    assert result.loss_last < result.loss_first - 0.3
    assert (result.tokens, result.steps) == (30 * 4 * 32, 30)
    assert seen == list(range(30))
    assert not adapted.training
    assert {tensor.dtype for tensor in adapter_state(adapted).values()} == {torch.float32}


def test_full_training_learns_and_repeats(shape, blocks: Blocks) -> None:  # type: ignore[no-untyped-def]
    from learning.architectures import build_model

    results = []
    for _ in range(2):
        torch.manual_seed(torch.seed() % 1000)
        results.append(adapt(build_model(shape, 0), blocks, 12, 4, 1e-2, seed=4))
    assert results[0] == results[1]
    assert results[0].loss_last < results[0].loss_first


def test_divergence_and_nothing_to_train_are_named(model: LlamaForCausalLM, blocks: Blocks) -> None:
    adapted = attach(model, AdapterShape(2, 2), seed=0)
    with torch.no_grad():
        next(p for p in adapted.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(Invalid, match="loss is nan"):
        adapt(adapted, blocks, 2, 2, 1e-3, 0)
    for parameter in adapted.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(Invalid, match="nothing to train"):
        adapt(adapted, blocks, 2, 2, 1e-3, 0)


def test_a_callback_may_stop_it(model: LlamaForCausalLM, blocks: Blocks) -> None:
    def stop(step: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(model, blocks, 5, 2, 1e-3, 0, stop)
    assert not model.training
