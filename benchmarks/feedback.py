"""What is left to learn after rounds whose updates travel in fewer bytes, with and without error feedback.

    python -m benchmarks.feedback [--rounds 30]

Three sites with data of their own fit one linear layer by adapters of rank 4 which begin anew in every round, as campaigns do;
the figure is the squared distance to the layer that all sites' data has in common, as a share of what it was. Short rounds stop
long before their end, so what was lost is missed; long ones begin where the merge left off and learn what it lacks anew, so
what is given back then counts twice.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from learning.compression import How, compress, expand

WIDTH, RANK, SITES, ROWS, SCALE = 48, 4, 3, 256, 2.0
SHORT, LONG = (10, 3e-3), (20, 3e-2)  # steps, learning rate


Factors = dict[str, Tensor]
"""`A` [rank, in] and `B` [out, rank]."""


def trained(weight: Tensor, start: Factors, given: Tensor, wanted: Tensor, steps: int, rate: float) -> Factors:
    """How a site moves the adapter from where it starts."""
    a, b = (start[name].clone().requires_grad_() for name in "AB")
    optimizer = torch.optim.AdamW([a, b], lr=rate, weight_decay=0.0, betas=(0.9, 0.95))
    for _ in range(steps):
        optimizer.zero_grad()
        (given @ (weight + SCALE * b @ a).T - wanted).square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {"A": (a - start["A"]).detach(), "B": (b - start["B"]).detach()}


def left(how: How, feedback: bool, steps: int, rate: float, rounds: int) -> float:
    """The share of the distance that is left."""
    generator = torch.Generator().manual_seed(0)

    def low_rank(rank: int, size: float) -> Tensor:
        tall, wide = (torch.randn(shape, generator=generator) for shape in ((WIDTH, rank), (rank, WIDTH)))
        return size * tall @ wide / rank

    common, own = low_rank(12, 1.0), [low_rank(4, 0.3) for _ in range(SITES)]
    rows = [torch.randn(ROWS, WIDTH, generator=generator) for _ in range(SITES)]
    wanted = [x @ (common + each - torch.stack(own).mean(0)).T for x, each in zip(rows, own, strict=True)]
    weight = torch.zeros(WIDTH, WIDTH)
    lost: list[Factors | None] = [None] * SITES
    for _ in range(rounds):
        start = {
            "A": (torch.rand(RANK, WIDTH, generator=generator) * 2 - 1) * (3 / WIDTH) ** 0.5,
            "B": torch.zeros(WIDTH, RANK),
        }
        mean = dict(start)
        for site in range(SITES):
            change = trained(weight, start, rows[site], wanted[site], steps, rate)
            packed = compress(change, how, lost[site], keep=0.1)
            lost[site] = packed.lost if feedback else None
            mean = {name: mean[name] + part / SITES for name, part in expand(packed.data, how, change).items()}
        weight = weight + SCALE * mean["B"] @ mean["A"]
    return float((weight - common).square().sum() / common.square().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    table = Table("", "short rounds", "long rounds", title=f"left to learn after {rounds} rounds, %")
    kinds: list[tuple[str, How, bool]] = [
        ("fp32", "fp32", False),
        ("int8", "int8", False),
        ("int8, feedback", "int8", True),
        ("top-k of 10 %", "top-k", False),
        ("top-k of 10 %, feedback", "top-k", True),
    ]
    for name, how, feedback in kinds:
        figures = (left(how, feedback, steps, rate, rounds) for steps, rate in (SHORT, LONG))
        table.add_row(name, *(f"{100 * figure:.1f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
