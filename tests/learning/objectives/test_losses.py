"""DPO's and GRPO's losses are trl's on the same tensors (`record_trl.py` wrote what trl computes), with their gradients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from learning.likelihood import target_losses
from learning.objectives.preferences import odpo_offset, preference_losses
from learning.objectives.reinforcement import advantages, policy_loss
from trust.errors import Invalid

TRL: dict[str, Any] = json.loads(Path(__file__).with_name("trl_losses.json").read_text())


def _tensors(kind: str) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in TRL[kind].items()}


def _answers(logits: Tensor, ids: Tensor, counted: Tensor) -> Tensor:
    """Log likelihoods of whole answers, [rows]."""
    rows = logits[:, :-1].flatten(0, 1) * 1
    each = target_losses(rows, ids[:, 1:].flatten()).view(len(ids), -1)
    return -(each * counted[:, 1:]).sum(1)


def test_dpo_is_that_of_trl() -> None:
    given = _tensors("dpo")
    logits = given["logits"].requires_grad_()
    chosen, rejected = _answers(logits, given["ids"], given["counted"]).chunk(2)
    with torch.no_grad():
        before = _answers(given["reference"], given["ids"], given["counted"]).chunk(2)
    loss = preference_losses(chosen, rejected, *before, beta=TRL["dpo"]["beta"]).mean()
    loss.backward()
    torch.testing.assert_close(loss.detach(), given["loss"])
    torch.testing.assert_close(logits.grad, given["gradient"])


def test_grpo_is_that_of_trl() -> None:
    given = _tensors("grpo")
    now = given["now"].requires_grad_()
    gains = advantages(given["rewards"]).flatten()
    torch.testing.assert_close(gains, given["gains"])
    settings = (TRL["grpo"]["clip"], given["reference"], TRL["grpo"]["beta"])
    loss = policy_loss(now, given["before"], gains, given["counted"].bool(), *settings)
    loss.backward()
    torch.testing.assert_close(loss.detach(), given["loss"])
    torch.testing.assert_close(now.grad, given["gradient"])


def test_an_offset_asks_for_a_larger_gap() -> None:
    chosen, rejected, none = torch.tensor([2.0, 2.0]), torch.tensor([1.0, 1.0]), torch.zeros(2)
    offset = odpo_offset(torch.tensor([3.0, 9.0]), torch.tensor([3.0, 2.0]), alpha=0.5)
    torch.testing.assert_close(offset, torch.tensor([0.0, 0.5 * 2.0794415]))  # log 8
    plain = preference_losses(chosen, rejected, none, none, 0.7)
    apart = preference_losses(chosen, rejected, none, none, 0.7, offset)
    torch.testing.assert_close(apart, functional.softplus(offset - 0.7))
    assert apart[0] == plain[0]
    assert apart[1] > plain[1]


@given(st.lists(st.floats(0, 1e6, width=32), min_size=2, unique=True), st.floats(1e-3, 100))
def test_the_better_an_answer_was_scored_the_larger_its_offset(better: list[float], alpha: float) -> None:
    """Also below one point: a small lead asks for little, and never for less than none."""
    known = odpo_offset(torch.tensor(sorted(better)), torch.zeros(len(better)), alpha)
    assert bool((known >= 0).all())
    assert bool((known.diff() >= 0).all())
    small = odpo_offset(torch.tensor([0.0, 0.1, 0.5, 0.9, 2.0]), torch.zeros(5), alpha)
    assert small[0] == 0
    assert bool((small.diff() > 0).all())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-10, 10), min_size=4, max_size=4), min_size=1, max_size=5))
def test_advantages_are_centred_in_their_group_and_at_most_of_one_spread(rewards: list[list[float]]) -> None:
    gains = advantages(torch.tensor(rewards))
    torch.testing.assert_close(gains.sum(1), torch.zeros(len(rewards)), rtol=0, atol=1e-4)
    assert bool((gains.std(1) <= 1 + 1e-5).all())
    torch.testing.assert_close(advantages(torch.ones(2, 4)), torch.zeros(2, 4))


def test_a_ratio_beyond_the_clip_teaches_no_more() -> None:
    before, counted = torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    for gain, step, learns in [(1.0, 0.5, False), (1.0, -0.5, True), (-1.0, -0.5, False), (-1.0, 0.5, True)]:
        now = torch.tensor([[step]], requires_grad=True)
        policy_loss(now, before, torch.tensor([gain]), counted).backward()
        assert now.grad is not None
        assert bool(now.grad) is learns


def test_padding_teaches_nothing_whatever_it_holds() -> None:
    now = torch.tensor([[0.1, 500.0]], requires_grad=True)
    counted = torch.tensor([[True, False]])
    loss = policy_loss(now, torch.zeros(1, 2), torch.ones(1), counted, 0.2, torch.zeros(1, 2), 0.1)
    loss.backward()
    assert now.grad is not None
    assert torch.isfinite(loss)
    assert now.grad[0, 1] == 0


def test_unfit_numbers_are_refused() -> None:
    pair, one = torch.zeros(2), torch.ones(1, 1)
    with pytest.raises(Invalid, match="beta"):
        preference_losses(pair, pair, pair, pair, 0.0)
    with pytest.raises(Invalid, match="higher score"):
        odpo_offset(torch.zeros(2), torch.ones(2), 1.0)
    with pytest.raises(Invalid, match="fewer than two"):
        advantages(torch.ones(3, 1))
    with pytest.raises(Invalid, match="finite"):
        advantages(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(Invalid, match="no reference"):
        policy_loss(one, one, torch.ones(1), one.bool(), beta=0.1)
    with pytest.raises(Invalid, match="clipping"):
        policy_loss(one, one, torch.ones(1), one.bool(), clip=1.5)
