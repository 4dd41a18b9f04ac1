"""One tiny model and tokenizer for the whole folder: training them once keeps the tests fast."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from learning.architectures import LlamaShape, build_model
from learning.tokenizer import train_tokenizer

torch.set_num_threads(1)

TEXTS = [
    f"The member {n} signs dataset {n * 7 % 31} and the hub answers with receipt {n * n}. Größe: {n} µg — 数据."
    for n in range(60)
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(iter(TEXTS), 320)


@pytest.fixture(scope="session")
def shape() -> LlamaShape:
    return LlamaShape(320, 32, 64, 2, 4, 2, 64)


@pytest.fixture
def model(shape: LlamaShape) -> LlamaForCausalLM:
    return build_model(shape, seed=3).eval()
