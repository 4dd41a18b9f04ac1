"""Held-out text tells an update that helps from one that harms."""

from __future__ import annotations

import math

import pytest
import torch

from learning.adaptation import adapt
from learning.adapters import AdapterShape
from learning.architectures import build_model
from learning.quality import Yardstick, held_out_blocks
from learning.tokenizer import train_tokenizer
from learning.trainable import Trainable
from learning.weights import AllWeights
from tests.shapes import llama
from trust.errors import Invalid

TEXT = "Members sign what they send, and whoever reads it can check it. "
SHAPE = AdapterShape(rank=4, alpha=8)


@pytest.mark.parametrize(
    ("trainable", "loud"), [(SHAPE, 1e30), (AdapterShape(rank=4, alpha=8, magnitudes=True), 1e30), (AllWeights(), 1e3)]
)
def test_what_helps_is_above_one_and_what_harms_below(trainable: Trainable, loud: float) -> None:
    tokenizer = train_tokenizer(iter([TEXT]), 280)
    model = build_model(llama(280, 16, 32, 1, 2, 2, 32), seed=1)
    blocks = held_out_blocks(tokenizer, (TEXT for _ in range(1000)), 16, 6)
    assert blocks.shape == (6, 16)
    yardstick = Yardstick(model, trainable, blocks)
    prepared = trainable.prepare(build_model(llama(280, 16, 32, 1, 2, 2, 32), seed=1), seed=3)
    start = prepared.start
    adapt(prepared.model, blocks.numpy(), steps=20, batch_size=4, learning_rate=0.02, seed=0)
    learned = prepared.state()
    opposite = {name: start[name] - 10 * (tensor - start[name]) for name, tensor in learned.items()}
    assert yardstick.quality(start) == pytest.approx(1)
    assert yardstick.quality(learned) > 1.1
    assert yardstick.quality(opposite) < 0.99
    noise = torch.Generator().manual_seed(0)
    broken = {name: loud * torch.randn(tensor.shape, generator=noise) for name, tensor in start.items()}
    assert yardstick.quality(broken) < 1e-6
    assert yardstick.quality(learned) == yardstick.quality(learned), "one measured before leaves nothing behind"
    assert math.isfinite(yardstick.quality(learned))


def test_too_little_text_measures_nothing() -> None:
    with pytest.raises(Invalid, match="does not fill one block of 64 tokens"):
        held_out_blocks(train_tokenizer(iter([TEXT]), 280), iter(["short"]), 64, 2)
