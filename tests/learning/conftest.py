"""One tiny model and tokenizer for the whole folder: training them once keeps the tests fast."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from learning.architectures import build_model
from learning.tokenizer import train_tokenizer
from tests.shapes import llama

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
def shape() -> dict[str, Any]:
    return llama(320, 32, 64, 2, 4, 2, 64)


@pytest.fixture
def model(shape: dict[str, Any]) -> LlamaForCausalLM:
    return build_model(shape, seed=3).eval()
