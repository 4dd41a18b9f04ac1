"""Positions stretched for longer sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from learning.architectures import build_model
from learning.export import load_model, save_model
from learning.stretching import stretch
from tests.learning.test_architectures import FAMILIES
from tests.learning.test_packing import DENSE
from trust.errors import Invalid

BLOCKS = torch.arange(1, 61).reshape(1, 60)


@pytest.mark.parametrize(
    "family", [DENSE, *(f for f in FAMILIES if f.family in ("olmo3", "mixtral", "olmoe"))], ids=lambda f: f.family
)
def test_a_stretched_model_is_saved_and_loaded_with_its_positions(
    family: Any, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    model = build_model(family.hugging_face(), seed=0).eval()
    with torch.no_grad():
        before = model(input_ids=BLOCKS).logits
        stretch(model, 16, 64)
        after = model(input_ids=BLOCKS).logits
        stretch(model, 16, 64)
        again = model(input_ids=BLOCKS).logits
    assert not torch.allclose(before, after, atol=1e-4)
    assert torch.equal(after, again)
    save_model(model, tokenizer, tmp_path)
    loaded, _ = load_model(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=BLOCKS).logits, after)


def test_the_slowest_turns_reach_as_much_further_as_sequences_are_longer_and_the_fastest_stay() -> None:
    model = build_model(DENSE.hugging_face(), seed=0)
    before = model.model.rotary_emb.inv_freq.clone()
    stretch(model, 16, 64)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq[-1], before[-1] / 4)
    torch.testing.assert_close(model.model.rotary_emb.inv_freq[0], before[0])


def test_a_model_without_rotary_positions_is_refused() -> None:
    hybrid = next(f for f in FAMILIES if f.family == "nemotron_h")
    with pytest.raises(Invalid, match="nemotron_h cannot be stretched"):
        stretch(build_model(hybrid.hugging_face(), seed=0), 16, 64)
