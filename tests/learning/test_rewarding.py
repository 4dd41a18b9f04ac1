"""A site's round of GRPO: the model answers, is judged, and answers better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import GenerationConfig, PreTrainedTokenizerFast

from learning.adapters import Adapted, AdapterShape, adapter_state, attach
from learning.architectures import build_model
from learning.objectives.answers import answer_losses
from learning.objectives.chats import Turn, completed, prompt
from learning.objectives.completions import Sampling, complete
from learning.objectives.rows import one_each
from learning.rewarding import Grouped, RewardedResult, adapt_to_rewards
from learning.weights import AllWeights
from trust.errors import Invalid

END = 0
HOW = Sampling(temperature=1.0, most=6, end=END)
STEPS = 12


@pytest.fixture
def outspoken(shape: dict[str, Any]) -> Callable[[], Any]:
    """A random model whose head is loud enough for an adapter to change what it says."""

    def made() -> Any:
        model = build_model(shape, seed=3).eval()
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(20)
        return attach(model, AdapterShape(4, 8), seed=1)

    return made


@pytest.fixture(scope="session")
def prompts(tokenizer: PreTrainedTokenizerFast) -> list[tuple[int, ...]]:
    return [prompt(tokenizer, [Turn("user", f"Which receipt is of {number}?")]) for number in range(4)]


@pytest.fixture(scope="session")
def digits(tokenizer: PreTrainedTokenizerFast) -> Callable[[int, Sequence[int]], float]:
    """A simple verifiable rule: the answer holds a digit."""
    return lambda number, said: float(any(letter.isdigit() for letter in tokenizer.decode(list(said))))


def learn(model: Any, prompts: Any, judge: Any, steps: int = STEPS, **more: Any) -> RewardedResult:
    grouped = Grouped(size=8, **more)
    return adapt_to_rewards(Adapted(model), prompts, judge, HOW, grouped, steps, 16, 0.02, seed=7)


def test_the_mean_reward_rises_and_a_weight_on_the_divergence_keeps_the_model_near_to_where_it_began(
    outspoken: Callable[[], Any], prompts: Any, digits: Any
) -> None:
    result = learn(outspoken(), prompts, digits, beta=0.0)
    assert result.reward_first < 0.3
    assert result.reward_last > 0.7
    assert result.divergence > 0.1
    assert 1 <= result.length <= HOW.most
    assert result.adaptation.tokens >= STEPS * 16 * (len(prompts[0]) + 1)
    assert learn(outspoken(), prompts, digits, beta=10.0).divergence < result.divergence / 4


def test_answers_that_are_worth_the_same_teach_nothing(outspoken: Callable[[], Any], prompts: Any) -> None:
    model = outspoken()
    before = adapter_state(model)
    result = learn(model, prompts, lambda number, said: 0.5, steps=2, beta=0.0)
    assert (result.reward_first, result.reward_last, result.divergence) == (0.5, 0.5, 0.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapter_state(model).items())


def test_the_same_seed_gives_the_same_adapter(outspoken: Callable[[], Any], prompts: Any, digits: Any) -> None:
    states = []
    for _ in range(2):
        torch.rand(3)
        model = outspoken()
        learn(model, prompts, digits, steps=2)
        states.append(adapter_state(model))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_every_prompt_is_judged_as_a_whole_group_and_learned_from_in_each_pass(
    outspoken: Callable[[], Any], prompts: Any
) -> None:
    asked: list[int] = []

    def judge(number: int, said: Sequence[int]) -> float:
        asked.append(number)
        return len(set(said)) / HOW.most

    learn(outspoken(), prompts, judge, steps=4, passes=2)
    assert len(asked) == 2 * 16  # two batches for four steps
    assert {asked.count(number) for number in range(4)} == {8}
    assert [len(set(asked[start : start + 8])) for start in range(0, 32, 8)] == [1] * 4
    with pytest.raises(Invalid, match="whole groups of 3"):
        adapt_to_rewards(Adapted(outspoken()), prompts, judge, HOW, Grouped(size=3), 1, 16, 0.02, seed=7)


def test_all_weights_learn_from_rewards_and_are_held_to_what_they_were(
    shape: dict[str, Any], prompts: Any, digits: Any
) -> None:
    """The first answers are those of the model as it came: nothing diverges before a step, and much after some."""
    found = []
    for steps in (1, STEPS):
        model = build_model(shape, seed=3).eval()
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(20)
        prepared = AllWeights().prepare(model, seed=1)
        grouped = Grouped(size=8, beta=0.0)
        found.append(adapt_to_rewards(prepared, prompts, digits, HOW, grouped, steps, 16, 0.01, seed=7))
    assert found[0].divergence == 0
    assert found[1].divergence > 0
    assert found[1].reward_last > found[1].reward_first


def test_a_completion_ends_with_its_end_whatever_the_models_folder_says(
    outspoken: Callable[[], Any], prompts: Any
) -> None:
    model = outspoken()
    plain = model.get_base_model()
    plain.generation_config = GenerationConfig(max_new_tokens=1, suppress_tokens=[END], do_sample=True, top_k=1)
    torch.manual_seed(0)
    often = Sampling(temperature=2.0, most=60, end=END)
    said = complete(model, prompts[0], 32, often)
    assert {END in answer[:-1] for answer in said} == {False}
    assert all(len(answer) == often.most or answer[-1] == END for answer in said)
    assert any(answer[-1] == END for answer in said)
    assert len(set(said)) > 1


def test_likelihoods_are_those_of_sampling_at_the_temperature(outspoken: Callable[[], Any], prompts: Any) -> None:
    model = outspoken()
    (said,) = complete(model, prompts[0], 1, HOW)
    rows = one_each([completed(prompts[0], said)], END)
    with torch.no_grad():
        logits = model(input_ids=rows.ids).logits[0, len(prompts[0]) - 1 : -1]
        found = answer_losses(model, rows, temperature=1.5)
    wanted = functional.cross_entropy(logits / 1.5, torch.tensor(said), reduction="none")
    torch.testing.assert_close(found[0, len(prompts[0]) :], wanted)
