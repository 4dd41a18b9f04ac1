"""Greedy decoding against HFLM's own, and its bounds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM

from hub.evaluation import greedy, likelihoods
from hub.evaluation.likelihoods import SharedPromptLM
from learning.export import load_model
from tests.hub.evaluation.conftest import CONTEXT, prose


@dataclass(frozen=True)
class Request:
    args: tuple[str, dict[str, Any]]


def asked(most: int) -> list[Request]:
    stops = {"until": [" arteries", "\n"], "max_gen_toks": most, "do_sample": False}
    return [Request((prose(seed, random.Random(seed).randint(1, 80)), dict(stops))) for seed in range(30)]


def test_as_lm_evals_own_model(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihoods, "precision", lambda: "float32")
    monkeypatch.setattr(greedy, "ROWS_AT_ONCE", 8)
    model, tokenizer = load_model(model_folder)
    words = {"pretrained": model, "tokenizer": tokenizer, "batch_size": 4, "device": "cpu"}
    ours, theirs = SharedPromptLM(**words).generate_until(asked(20)), HFLM(**words).generate_until(asked(20), True)
    assert ours == theirs
    assert len(set(map(len, ours))) > 3


def test_an_answer_ends_at_its_bound_at_an_end_token_or_where_it_is_stopped(model_folder: Path) -> None:
    model, _ = load_model(model_folder)
    prompts = [[5, 6, 7], [8] * 20]
    free = greedy.decode(model, prompts, 7, set(), lambda said: False)
    assert [len(said) for said in free] == [7, 7]
    end = free[0][3]
    ended = greedy.decode(model, prompts, 7, {end}, lambda said: False)
    assert ended[0] == free[0][: free[0].index(end)]
    stopped = greedy.decode(model, prompts, 7, set(), lambda said: len(said) == 2)
    assert stopped == [said[:2] for said in free]


def test_prompt_and_answer_share_the_context(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_model(model_folder)
    lm = SharedPromptLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu")
    seen: list[tuple[int, int]] = []

    def decode(model: Any, prompts: Any, new: int, *more: Any) -> list[list[int]]:
        seen.append((max(map(len, prompts)), new))
        return [[5] for _ in prompts]

    monkeypatch.setattr(greedy, "decode", decode)
    lm.generate_until([Request((prose(1, 200), {"until": [], "max_gen_toks": 512}))])
    assert seen == [(CONTEXT // 2, CONTEXT // 2)]


def test_batches_are_bounded_and_complete() -> None:
    prompts = [[1] * (1 + i % 300) for i in range(700)]
    made = list(greedy.batches(prompts, 50))
    assert sorted(position for batch in made for position in batch) == list(range(700))
    for batch in made:
        assert len(batch) <= greedy.ROWS_AT_ONCE
        assert len(batch) * (max(len(prompts[i]) for i in batch) + 50) <= greedy.TOKENS_AT_ONCE
