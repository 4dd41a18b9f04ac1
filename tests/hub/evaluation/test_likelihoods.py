"""Sharing a prompt among its choices changes the cost and not the likelihoods."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from lm_eval.models.huggingface import HFLM

from hub.evaluation import likelihoods
from hub.evaluation.likelihoods import Request, SharedPromptLM, batches, rows
from learning.export import load_model
from tests.hub.evaluation.conftest import CONTEXT
from trust.errors import Invalid

ChosenLM = SharedPromptLM | HFLM


@pytest.fixture(params=["float32", "bfloat16"])
def models(request: pytest.FixtureRequest, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[ChosenLM]:
    """Ours, in either precision, and lm-eval's own."""
    monkeypatch.setattr(likelihoods, "precision", lambda: request.param)
    model, tokenizer = load_model(model_folder)
    return [kind(pretrained=model, tokenizer=tokenizer, batch_size=4, device="cpu") for kind in (SharedPromptLM, HFLM)]


def some_requests(seed: int) -> list[Request]:
    """Prompts of 1 to 80 tokens (the model reads 64) with one to five choices, in no order."""
    chance = random.Random(seed)
    found: list[Request] = []
    for _ in range(12):
        prompt = chance.choices(range(1, 290), k=chance.choice([1, 3, 9, 20, 40, 63, 64, 80]))
        for _ in range(chance.randint(1, 5)):
            found.append((None, prompt, chance.choices(range(1, 290), k=chance.choice([1, 2, 7, 30, 64]))))
    chance.shuffle(found)
    return found


def test_as_lm_evals_own_model(models: list[ChosenLM]) -> None:
    ours, theirs = models
    asked = some_requests(0)
    close = 1e-4 if likelihoods.precision() == "float32" else 0.02
    found, expected = ours._loglikelihood_tokens(asked), theirs._loglikelihood_tokens(asked, disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], rel=close)
    if likelihoods.precision() == "float32":
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_a_prompt_is_read_once_for_its_choices() -> None:
    prompt = list(range(1, 31))
    (row,) = rows([(None, prompt, [7, 8]), (None, prompt, [9]), (None, prompt, [7, 8, 9])], CONTEXT)
    assert len(row) == 30 + 1 + 0 + 2
    assert [number for number, _ in row.choices] == [0, 1, 2]


def test_a_row_never_grows_past_twice_the_context() -> None:
    prompt = list(range(1, 31))
    found = rows([(None, prompt, [5] * 30) for _ in range(20)], CONTEXT)
    assert max(map(len, found)) <= 2 * CONTEXT
    assert sorted(number for row in found for number, _ in row.choices) == list(range(20))


def test_batches_are_bounded_and_complete() -> None:
    found = rows([(None, [1] * (1 + i % 60), [2] * 5) for i in range(500)], CONTEXT)
    made = list(batches(found))
    assert all(len(batch) * max(map(len, batch)) <= likelihoods.TOKENS_AT_ONCE for batch in made)
    assert sum(map(len, made)) == len(found)


def test_a_choice_that_the_model_cannot_read_is_refused() -> None:
    with pytest.raises(Invalid, match="65 tokens"):
        rows([(None, [1], [2] * (CONTEXT + 1))], CONTEXT)
    with pytest.raises(Invalid, match="0 tokens"):
        rows([(None, [1], [])], CONTEXT)
