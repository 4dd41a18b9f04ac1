"""Terms that keep sites with different data from drifting apart: FedProx, and SCAFFOLD's control variates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from learning.updates import check_names_and_shapes
from trust.errors import Invalid

Named = Mapping[str, Tensor]


def proximal_term(parameters: Iterable[tuple[str, nn.Parameter]], start: Named, mu: float) -> Tensor:
    """mu / 2 times the squared distance of the parameters from where the round began: scalar, to be added to the loss.
    FedProx, Li et al., arXiv:1812.06127, equation 2. Raises `Invalid` for a negative `mu` and for other names or shapes."""
    if not mu >= 0:
        raise Invalid(f"FedProx's mu is {mu}.", "Give 0 or more.", field="mu")
    named = dict(parameters)
    check_names_and_shapes({name: parameter.detach() for name, parameter in named.items()}, start)
    squares = [(parameter - start[name].to(parameter)).square().sum() for name, parameter in named.items()]
    return mu / 2 * torch.stack(squares).sum()


def correct(parameters: Iterable[tuple[str, nn.Parameter]], own: Named, common: Named) -> None:
    """SCAFFOLD's local step, between the way back and the optimizer: add `common - own` to every gradient, in place.
    Karimireddy et al., arXiv:1910.06378, algorithm 1, line 10. Raises `Invalid` for other names or shapes."""
    check_names_and_shapes(own, common)
    for name, parameter in parameters:
        if name not in common:
            raise Invalid(f"There is no control variate of {name}.", "Give one of each parameter.", field=name)
        if parameter.grad is not None:
            parameter.grad.add_((common[name] - own[name]).to(parameter.grad))


def next_control(own: Named, common: Named, start: Named, end: Named, steps: int, rate: float) -> dict[str, Tensor]:
    """A site's control variate after `steps` local steps of plain gradient descent at `rate` from `start` to `end`: line 12,
    option II. Raises `Invalid` for other names or shapes."""
    if steps < 1 or not rate > 0:
        raise Invalid(f"{steps} steps at a rate of {rate} say nothing of a gradient.", "Train first.", field="steps")
    for other in (common, start, end):
        check_names_and_shapes(other, own)
    return {name: own[name] - common[name] + (start[name] - end[name]) / (steps * rate) for name in sorted(own)}


def next_common(common: Named, mean_change: Named, took_part: int, members: int) -> dict[str, Tensor]:
    """The server's control variate after a round of `took_part` of `members`, whose own ones changed by `mean_change` on average:
    line 17. Raises `Invalid` for other names or shapes."""
    if not 0 < took_part <= members:
        raise Invalid(f"{took_part} of {members} cannot have taken part.", field="members")
    check_names_and_shapes(mean_change, common)
    return {name: common[name] + took_part / members * mean_change[name] for name in sorted(common)}
