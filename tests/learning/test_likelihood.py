"""Losses and gradients are those of autograd through torch's cross entropy, to the rounding of the logits' dtype."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from learning.likelihood import next_token_losses

SHAPE = (3, 50, 4096)  # more positions than are made fp32 at a time, and no multiple of them


def _given(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=generator).mul(4).to(dtype)
    return logits, torch.randint(SHAPE[2], SHAPE[:2], generator=generator)


def _usual(logits: Tensor, blocks: Tensor, z: float) -> tuple[Tensor, Tensor]:
    predicted = logits[:, :-1].float()
    each = functional.cross_entropy(predicted.flatten(0, 1), blocks[:, 1:].flatten(), reduction="none")
    rows = each.view(len(blocks), -1).mean(-1)
    return rows, rows.mean() + z * predicted.logsumexp(-1).square().mean()


@pytest.mark.parametrize("z", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_and_gradients_are_the_usual_ones(dtype: torch.dtype, z: float) -> None:
    logits, blocks = _given(dtype)
    leaf, usual = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    rows, loss = next_token_losses(leaf * 1, blocks, z)
    expected_rows, expected = _usual(usual, blocks, z)
    torch.testing.assert_close(rows, expected_rows)
    torch.testing.assert_close(loss, expected)
    (3 * loss).backward()
    (3 * expected).backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, usual.grad)
    assert not leaf.grad[:, -1].any()


def test_logits_far_apart_stay_finite() -> None:
    logits = torch.tensor([[[9e4, -9e4, 0.0]] * 2], requires_grad=True)
    _, loss = next_token_losses(logits * 1, torch.tensor([[0, 1]]))
    loss.backward()
    assert loss.item() == 1.8e5
    assert logits.grad is not None
    assert logits.grad[0].tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


def test_logits_may_lie_anyhow_in_memory() -> None:
    logits, blocks = _given(torch.float32)
    leaf, usual = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    next_token_losses((leaf * 1).transpose(0, 1).contiguous().transpose(0, 1), blocks)[1].backward()
    _usual(usual, blocks, 0.0)[1].backward()
    torch.testing.assert_close(leaf.grad, usual.grad)


def test_logits_are_left_alone_where_no_gradient_is_wanted() -> None:
    logits, blocks = _given(torch.float32)
    before = logits.clone()
    rows, loss = next_token_losses(logits, blocks)
    torch.testing.assert_close(loss, rows.mean())
    assert torch.equal(logits, before)


def test_what_else_needs_the_logits_hears_that_they_are_gone() -> None:
    logits, blocks = _given(torch.float32)
    bounded = logits.requires_grad_().tanh()  # remembers its result for the way back
    _, loss = next_token_losses(bounded, blocks)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_gradient_can_be_had_once() -> None:
    logits, blocks = _given(torch.float32)
    _, loss = next_token_losses(logits.requires_grad_() * 1, blocks)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="was taken already"):
        loss.backward()
