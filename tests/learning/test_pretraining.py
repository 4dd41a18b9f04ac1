from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from transformers import LlamaForCausalLM

from learning.pretraining import (
    BETAS,
    TrainingShape,
    block_loss,
    deepspeed_config,
    learning_rate_at,
    parameter_groups,
    row_losses,
)
from trust.errors import Invalid

SHAPE = TrainingShape(100, 4, 3e-3, 10, 0.1, 1.0, 0, 32)


def test_the_loss_is_that_of_transformers(model: LlamaForCausalLM) -> None:
    blocks = torch.randint(0, 320, (3, 16), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block_loss(model, blocks), model(input_ids=blocks, labels=blocks).loss)


@pytest.mark.parametrize("recompute", [False, True])
def test_separate_documents_are_learned_as_if_alone(model: LlamaForCausalLM, recompute: bool) -> None:
    """Loss and gradients of two documents in a row are those of one document in each of two rows."""
    model.train()
    if recompute:
        model.activation_checkpointing_enable()
    pair = torch.randint(1, 320, (2, 16), generator=torch.Generator().manual_seed(0))
    pair[:, 0] = 0
    logits = model(input_ids=pair, use_cache=False).logits
    inner = torch.nn.functional.cross_entropy(logits.flatten(0, 1)[:-1], pair.flatten()[1:])
    inner.backward()
    expected = model.model.layers[0].self_attn.k_proj.weight.grad.clone()
    model.zero_grad()
    loss = block_loss(model, pair.reshape(1, 32), separate=True)
    loss.backward()
    torch.testing.assert_close(loss, inner)
    torch.testing.assert_close(model.model.layers[0].self_attn.k_proj.weight.grad, expected)
    assert not torch.allclose(block_loss(model, pair.reshape(1, 32)), inner, atol=1e-3)


def test_the_learning_rate_peaks_after_the_warm_up() -> None:
    rates = [learning_rate_at(SHAPE, step) for step in range(100)]
    assert max(rates) == rates[9] == SHAPE.learning_rate
    assert rates[-1] == pytest.approx(0.1 * SHAPE.learning_rate)


def test_the_z_loss_is_the_squared_logarithm_of_the_denominator(model: LlamaForCausalLM) -> None:
    blocks = torch.randint(0, 320, (3, 16), generator=torch.Generator().manual_seed(0))
    rows, loss = row_losses(model, blocks, z=0.5)
    denominators = model(input_ids=blocks).logits[:, :-1].exp().sum(-1).log()
    torch.testing.assert_close(loss, rows.mean() + 0.5 * denominators.square().mean())
    torch.testing.assert_close(rows.mean(), block_loss(model, blocks))


def test_training_takes_the_course_of_a_plain_loop(model: LlamaForCausalLM) -> None:
    """Twenty steps with our loss and a fused AdamW, against `transformers`' loss and torch's plainest AdamW."""
    plain = copy.deepcopy(model)
    batches = torch.randint(0, 320, (20, 3, 16), generator=torch.Generator().manual_seed(0))
    fused = torch.optim.AdamW(parameter_groups(model, 0.1), lr=1e-2, betas=BETAS, fused=True)
    usual = torch.optim.AdamW(parameter_groups(plain, 0.1), lr=1e-2, betas=BETAS, foreach=False)
    for blocks in batches:
        losses = block_loss(model, blocks), plain(input_ids=blocks, labels=blocks).loss
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-4)
        for loss, optimizer in zip(losses, (fused, usual), strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_a_schedule_of_its_own_and_muon_without_a_config_of_deepspeed() -> None:
    shape = replace(SHAPE, schedule="wsd", decay_steps=20, optimizer="muon", floor=0.0)
    rates = [learning_rate_at(shape, step) for step in (10, 79, 89, 99)]
    assert rates == pytest.approx([3e-3, 3e-3, 1.5e-3, 0])
    config = deepspeed_config(shape, 2, 2, 1_000_000)
    assert "optimizer" not in config
    with pytest.raises(Invalid, match="ZeRO 0 to 2"):
        deepspeed_config(shape, 2, 3, 1_000_000)


def test_matrices_decay_and_vectors_do_not(model: LlamaForCausalLM) -> None:
    matrices, vectors = parameter_groups(model, 0.1)
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert len(vectors["params"]) == 2 * 2 + 1
    total = sum(p.numel() for group in (matrices, vectors) for p in group["params"])
    assert total == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_deepspeed_configuration(stage: int) -> None:
    config = deepspeed_config(SHAPE, 2, stage, 1_000_000)
    assert json.loads(json.dumps(config)) == config
    assert config["train_batch_size"] == 8
    assert config["zero_optimization"]["stage"] == stage
    assert config["optimizer"]["params"]["torch_adam"] is config["optimizer"]["params"]["fused"] is True
    assert config["bf16"]["enabled"] is True
    assert deepspeed_config(replace(SHAPE, precision="fp32"), 2, stage, 1_000_000)["bf16"]["enabled"] is False


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"warmup_steps": 101}, {"precision": "fp16"}, {"sequence_length": 1}, {"seed": -1}, {"clip": 0.0}],
)
def test_impossible_runs_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        replace(SHAPE, **change)
    with pytest.raises(Invalid):
        deepspeed_config(SHAPE, 1, 4, 1_000_000)
