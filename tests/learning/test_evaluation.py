from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from learning.evaluation import bits_per_byte, to_bits_per_byte
from learning.tokenizer import encode_documents
from trust.errors import Invalid


def _exact(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, text: str) -> float:
    """Nats of one text in one pass."""
    (ids,) = encode_documents(tokenizer, [text])
    inputs = torch.tensor([[0, *ids]])
    with torch.no_grad():
        scores = model(inputs).logits.log_softmax(-1)
    return -float(scores[0, :-1].gather(1, inputs[0, 1:, None]).sum())


def test_it_is_the_likelihood_of_every_token_once(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str]
) -> None:
    sample = [texts[0], "short", "", texts[1] * 2]
    nats, total = bits_per_byte(model, tokenizer, sample, 1000, 500)
    assert nats == pytest.approx(sum(_exact(model, tokenizer, text) for text in sample), rel=1e-4)
    assert total == sum(len(text.encode()) for text in sample)


@pytest.mark.parametrize("stride", [1, 7, 31])
def test_windows_score_every_token_once(tokenizer: PreTrainedTokenizerFast, texts: list[str], stride: int) -> None:
    class Uniform(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> object:
            return type("Output", (), {"logits": torch.zeros(*input_ids.shape, 320)})()

    sample = [texts[0] * 3, texts[1]]
    tokens = sum(map(len, encode_documents(tokenizer, sample)))
    nats, _ = bits_per_byte(Uniform(), tokenizer, sample, 32, stride)
    assert nats == pytest.approx(tokens * 5.768321, rel=1e-5)  # ln 320


def test_the_ratio() -> None:
    assert to_bits_per_byte(0.693147, 1) == pytest.approx(1, rel=1e-5)
    with pytest.raises(Invalid):
        to_bits_per_byte(1.0, 0)


def test_impossible_windows_are_refused(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(Invalid):
        bits_per_byte(model, tokenizer, ["x"], 8, 8)
