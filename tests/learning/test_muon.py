"""Muon against the iteration in float64 and AdamW of torch; parts of matrices give what whole ones do."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learning.architectures import build_model
from learning.muon import Muon, muon_groups, orthogonal
from tests.learning.test_architectures import FAMILIES


def reference(matrix: Any) -> Any:
    """Five steps of the quintic iteration as Jordan et al. write it, in numpy's float64."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_the_iteration_is_that_of_the_reference(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = reference(matrix.numpy())
    torch.testing.assert_close(orthogonal(matrix), torch.from_numpy(expected))
    assert (orthogonal(matrix.bfloat16()).double() - torch.from_numpy(expected)).abs().max() < 0.06
    singular = np.linalg.svd(expected, compute_uv=False)
    assert 0.5 < singular.min() < singular.max() < 1.3
    torch.testing.assert_close(orthogonal(torch.stack([matrix, 2 * matrix]))[1], orthogonal(matrix))


def test_two_steps_are_those_of_the_reference() -> None:
    """Nesterov momentum of 0.95, decay apart from the gradient, and the scale 0.2 sqrt(max(rows, columns))."""
    random = torch.Generator().manual_seed(1)
    weight = nn.Parameter(torch.randn(6, 10, generator=random, dtype=torch.float64))
    expected, momentum = weight.detach().numpy().copy(), np.zeros((6, 10))
    optimizer = Muon(
        [{"params": [weight], "weight_decay": 0.1, "shapes": [(6, 10)]}], 0.02, (0.9, 0.95), 1e-8, dtype=torch.float64
    )
    for _ in range(2):
        gradient = torch.randn(6, 10, generator=random, dtype=torch.float64)
        weight.grad = gradient
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient.numpy()
        update = reference(0.05 * gradient.numpy() + 0.95 * momentum) * 0.2 * math.sqrt(10)
        expected = expected * (1 - 0.02 * 0.1) - 0.02 * update
    torch.testing.assert_close(weight.detach(), torch.from_numpy(expected))


def test_an_update_has_the_size_of_adamws_whatever_the_shape() -> None:
    for shape in ((64, 64), (16, 256), (256, 16), (3, 32, 64)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        Muon([{"params": [weight], "shapes": [shape]}], 1.0, (0.9, 0.95), 1e-8).step()
        assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2, rel=0.3)


def test_what_is_no_matrix_goes_as_under_adamw() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12)) for _ in range(2))
    muon = Muon([{"params": [ours], "weight_decay": 0.1, "shapes": None}], 0.01, (0.9, 0.95), 1e-8)
    adamw = torch.optim.AdamW([theirs], 0.01, (0.9, 0.95), 1e-8, 0.1)
    for step in range(3):
        ours.grad = theirs.grad = torch.sin(torch.arange(12.0) + step)
        muon.step()
        adamw.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_with_parts_of_the_matrices_move_them_as_one_with_the_whole(world: int) -> None:
    shapes = [(4, 6), (2, 3, 5), (7, 3)]
    random = torch.Generator().manual_seed(3)
    whole = [nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]
    size = sum(p.numel() for p in whole)
    part = -(-size // world)
    flat = torch.cat([p.detach().flatten() for p in whole] + [torch.zeros(part * world - size)])
    gradients = [[torch.randn(shape, generator=random) for shape in shapes] for _ in range(2)]
    alone = Muon([{"params": whole, "weight_decay": 0.1, "shapes": shapes}], 0.02, (0.9, 0.95), 1e-8)
    for step in gradients:
        for parameter, gradient in zip(whole, step, strict=True):
            parameter.grad = gradient
        alone.step()
    shared, met = [torch.empty(0)] * world, threading.Barrier(world)
    parts = [nn.Parameter(flat[rank * part : (rank + 1) * part].clone()) for rank in range(world)]

    def run(rank: int) -> None:
        def gather(mine: Tensor) -> Tensor:
            shared[rank] = mine
            met.wait(10)
            found = torch.cat(shared)
            met.wait(10)
            return found

        group = {"params": [parts[rank]], "weight_decay": 0.1, "shapes": shapes}
        optimizer = Muon([group], 0.02, (0.9, 0.95), 1e-8, gather, rank)
        for step in gradients:
            padded = torch.cat([g.flatten() for g in step] + [torch.zeros(part * world - size)])
            parts[rank].grad = padded[rank * part : (rank + 1) * part].clone()
            optimizer.step()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    found = torch.cat([p.detach() for p in parts])
    torch.testing.assert_close(found[:size], torch.cat([p.detach().flatten() for p in whole]), rtol=0, atol=1e-6)
    assert not found[size:].any()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
def test_every_parameter_is_in_one_group_and_only_matrices_are_orthogonal(family: Any) -> None:
    model = build_model(family.hugging_face(), seed=0)
    matrices, *rest = muon_groups(model, 0.1)
    grouped = [id(p) for group in (matrices, *rest) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert all(min(shape[-2:]) > 1 for shape in matrices["shapes"])
    others = {id(p) for group in rest for p in group["params"]}
    assert id(model.get_input_embeddings().weight) in others
    assert id(model.get_output_embeddings().weight) in others
    assert rest[-1]["weight_decay"] == 0
