"""The models that a campaign's rounds lead to, by strategy; a campaign that was interrupted leads to the same ones."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from hub.rounds.merging import Merger
from hub.rounds.plan import update_file
from learning.adapters import AdapterShape
from learning.aggregation.low_rank import LowRankMean, products
from learning.architectures import build_model
from learning.export import load_model
from learning.objectives.chats import template_of
from learning.tokenizer import train_tokenizer
from learning.weights import moved
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Adapter, LocalTraining, Server
from tests.shapes import llama
from trust.errors import Invalid

ADAPTER = Adapter(rank=2, alpha=6, targets=("q_proj",))
SHAPE = AdapterShape(rank=2, alpha=6, targets=("q_proj",))
LAYERS = [f"model.layers.{n}.self_attn.q_proj" for n in (0, 1)]
Strategy = Literal["fedavg", "diloco", "fedadam", "fedyogi"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(iter(["Members sign what they send."]), 280)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return build_model(llama(280, 16, 32, 2, 2, 2, 32), seed=1).eval()


@pytest.fixture(scope="module")
def updates(model: LlamaForCausalLM) -> list[dict[str, Tensor]]:
    """The averaged adapters of three rounds."""
    generator = torch.Generator().manual_seed(0)
    rounds = [SHAPE.origin(model, seed)[0] for seed in (1, 2, 3)]
    return [{name: torch.randn(t.shape, generator=generator) / 9 for name, t in each.items()} for each in rounds]


def _spec(strategy: Strategy, server: Server | None, **more: Any) -> CampaignSpec:
    training = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
    given = {"name": "rounds", "base_model": "tiny-1", "rounds": 3, "minimum_members": 1, "adapter": ADAPTER}
    return CampaignSpec.read({**given, "training": training, "strategy": strategy, "server": server, **more})


def _led(
    merger: Merger, model: Any, tokenizer: PreTrainedTokenizerFast, updates: list[dict[str, Tensor]], folder: Path
) -> list[Path]:
    """The folders of these rounds, each model made from the one before."""
    made = []
    for number, update in enumerate(updates):
        merger.write_model(copy.deepcopy(model), tokenizer, update, folder / str(number))
        made.append(folder / str(number))
        model, _ = load_model(made[-1] / "model")
    return made


def _changes(update: dict[str, Tensor]) -> dict[str, Tensor]:
    return {layer: 3 * product for layer, product in products(update).items()}  # alpha / rank


def test_diloco_is_nesterov_descent_on_the_weights(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    updates: list[dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    folder = _led(Merger(_spec("diloco", Server(rate=0.7))), model, tokenizer, updates, tmp_path)[-1]
    found, _ = load_model(folder / "model")
    for layer in LAYERS:
        weight = torch.nn.Parameter(model.get_parameter(f"{layer}.weight").detach().clone())
        peer = torch.optim.SGD([weight], lr=0.7, momentum=0.9, nesterov=True)
        for update in updates:
            weight.grad = -_changes(update)[f"base_model.model.{layer}"]
            peer.step()
        torch.testing.assert_close(found.get_parameter(f"{layer}.weight"), weight)


def test_whole_weights_go_the_way_of_plain_nesterov_descent(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    """The merged model is the base plus the averaged difference, or the server's step with it; tied weights move once."""
    generator = torch.Generator().manual_seed(0)
    rounds = [
        {name: torch.randn(weight.shape, generator=generator) / 99 for name, weight in model.named_parameters()}
        for _ in range(3)
    ]
    full = {"trainable": "full", "adapter": Adapter()}
    plain = _led(Merger(_spec("fedavg", None, **full)), model, tokenizer, rounds, tmp_path / "plain")[-1]
    led = _led(Merger(_spec("diloco", Server(rate=0.7), **full)), model, tokenizer, rounds, tmp_path / "diloco")[-1]
    summed, stepped = (load_model(folder / "model")[0] for folder in (plain, led))
    for name, before in model.named_parameters():
        torch.testing.assert_close(summed.get_parameter(name), before + sum(each[name] for each in rounds))
        weight = torch.nn.Parameter(before.detach().clone())
        peer = torch.optim.SGD([weight], lr=0.7, momentum=0.9, nesterov=True)
        for each in rounds:
            weight.grad = -each[name]
            peer.step()
        torch.testing.assert_close(stepped.get_parameter(name), weight)


def test_a_model_that_learned_conversations_says_how_they_are_written(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, updates: list[dict[str, Tensor]], tmp_path: Path
) -> None:
    """As `transformers` reads it; a model that has a template keeps it, and one that learned from texts gets none."""
    for objective, own, found in (
        ("sft", None, template_of(tokenizer)),
        ("dpo", "{{ 1 }}", "{{ 1 }}"),
        ("continued-training", None, None),
    ):
        spoken = copy.deepcopy(tokenizer)
        spoken.chat_template = own
        merger = Merger(_spec("fedavg", None, objective=objective))
        (folder,) = _led(merger, model, spoken, updates[:1], tmp_path / objective)
        assert load_model(folder / "model")[1].chat_template == found


@pytest.mark.parametrize("strategy", ["diloco", "fedadam", "fedyogi"])
def test_an_interrupted_campaign_goes_on_as_if_it_were_not(
    strategy: Strategy,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    updates: list[dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    """Bit for bit: what the server remembers comes back from the recorded updates."""
    spec = _spec(strategy, Server(rate=0.01))
    whole = _led(Merger(spec), model, tokenizer, updates, tmp_path / "whole")
    update_file(tmp_path, 1).parent.mkdir()
    for number in (1, 2):
        update_file(tmp_path, number).write_bytes((whole[number - 1] / "adapter.safetensors").read_bytes())
    resumed = Merger(spec)
    resumed.look_back(tmp_path, 3)
    parent, _ = load_model(whole[1] / "model")
    (last,) = _led(resumed, parent, tokenizer, updates[2:], tmp_path / "resumed")
    assert (last / "model/model.safetensors").read_bytes() == (whole[2] / "model/model.safetensors").read_bytes()
    forgetful = _led(Merger(spec), parent, tokenizer, updates[2:], tmp_path / "forgetful")[0]
    assert (forgetful / "model/model.safetensors").read_bytes() != (last / "model/model.safetensors").read_bytes()


def test_the_plain_mean_is_merged_and_an_exact_one_with_its_own_rank(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    updates: list[dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    merger = Merger(_spec("fedavg", None, averaging="products"))
    mean = LowRankMean()
    for update in updates:
        mean.add(update, 1)
    merger.write_model(copy.deepcopy(model), tokenizer, mean.result(), tmp_path / "exact")
    merger.write_model(copy.deepcopy(model), tokenizer, updates[0], tmp_path / "plain")
    plain, exact = (load_file(tmp_path / each / "model/model.safetensors") for each in ("plain", "exact"))
    expected = moved(model, SHAPE.change(updates[0])).state_dict()
    for layer in LAYERS:
        name = f"{layer}.weight"
        assert torch.equal(plain[name], expected[name])
        change = sum(_changes(update)[f"base_model.model.{layer}"] for update in updates) / 3
        torch.testing.assert_close(exact[name], model.get_parameter(name).detach() + change)


@pytest.mark.parametrize(("strategy", "server"), [("fedavg", Server(rate=1)), ("diloco", None)])
def test_a_step_is_described_where_one_is_taken(strategy: Strategy, server: Server | None) -> None:
    with pytest.raises(Invalid, match="server"):
        _spec(strategy, server)
