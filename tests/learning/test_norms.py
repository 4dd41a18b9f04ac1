"""Norms with their own gradient, against those of `transformers`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from learning.architectures import build_model
from protos.documents.architectures import Llama
from tests.learning.test_architectures import FAMILIES, SMALL

DENSE = Llama(**SMALL, layers=2, kv_heads=1, intermediate_size=64)


def _norms(family: Any, dtype: torch.dtype) -> dict[str, Any]:
    """One of each width of a new model's, its weights no longer all the same."""
    model = build_model(family.hugging_face(), seed=0).to(dtype)
    found = {
        f"{type(module).__name__} {len(module.weight)}": module
        for module in model.modules()
        if type(module).__name__.endswith("RMSNorm")
    }
    for module in found.values():
        nn.init.uniform_(module.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(0))
    return found


def _learned(norm: Any, compute: Any) -> list[torch.Tensor]:
    """The norm of the same random rows, and the gradients of rows and weight for a random gradient of it."""
    generator = torch.Generator().manual_seed(1)
    shape, dtype = (2, 5, len(norm.weight)), norm.weight.dtype
    rows = torch.randn(shape, generator=generator).mul_(3).to(dtype).requires_grad_()
    norm.weight.grad = None
    found = compute(rows)
    found.backward(torch.randn(shape, generator=generator).to(dtype))
    return [found.detach(), rows.grad, norm.weight.grad]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("family", [DENSE, *FAMILIES], ids=lambda family: family.family)
def test_every_familys_norms_are_computed_with_their_own_gradient_and_to_rounding_as_its_class_does(
    family: Any, dtype: torch.dtype
) -> None:
    norms = _norms(family, dtype)
    assert norms
    for norm in norms.values():
        ours, theirs = _learned(norm, norm), _learned(norm, lambda rows, norm=norm: type(norm).forward(norm, rows))
        near = {"rtol": 1.6e-2, "atol": 3e-2} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(ours, theirs, **near)
        assert dtype == torch.bfloat16 or torch.equal(ours[0], theirs[0])
        assert norm(torch.ones(1, len(norm.weight), dtype=dtype)).grad_fn.name().startswith("_RmsNorm")


def test_rounding_is_done_once_so_that_bf16_is_nearer_to_the_truth_than_the_class() -> None:
    (norm,) = _norms(DENSE, torch.bfloat16).values()
    ours, theirs = _learned(norm, norm), _learned(norm, lambda rows: type(norm).forward(norm, rows))
    truth = _learned(norm.float(), norm)
    errors = [[(a.float() - b).square().mean() for a, b in zip(each, truth, strict=True)] for each in (ours, theirs)]
    assert all(own <= usual for own, usual in zip(*errors, strict=True))


def test_without_a_gradient_a_model_computes_what_its_class_does() -> None:
    for norm in _norms(DENSE, torch.bfloat16).values():
        rows = torch.randn(4, len(norm.weight), generator=torch.Generator().manual_seed(2)).bfloat16()
        with torch.no_grad():
            assert torch.equal(norm(rows), type(norm).forward(norm, rows))
