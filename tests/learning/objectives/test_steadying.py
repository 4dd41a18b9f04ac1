from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from learning.objectives.steadying import correct, next_common, next_control, proximal_term
from trust.errors import Invalid

CENTRES = [torch.tensor([4.0, 0.0]), torch.tensor([-2.0, 3.0]), torch.tensor([1.0, 9.0])]
CURVES = [torch.tensor([1.0, 0.2]), torch.tensor([0.1, 1.0]), torch.tensor([0.5, 0.3])]
BEST = sum(c * x for c, x in zip(CURVES, CENTRES, strict=True)) / sum(CURVES)
"""Three sites' losses are paraboloids; where their sum is least."""


def test_the_proximal_term_is_half_the_squared_distance() -> None:
    layer = nn.Linear(2, 2)
    start = {name: parameter.detach() + 1 for name, parameter in layer.named_parameters()}
    term = proximal_term(layer.named_parameters(), start, 0.5)
    term.backward()
    assert term.item() == pytest.approx(0.5 / 2 * 6)
    torch.testing.assert_close(layer.weight.grad, torch.full((2, 2), -0.5))
    with pytest.raises(Invalid, match="lacks the tensor"):
        proximal_term(layer.named_parameters(), {**start, "other": torch.zeros(1)}, 0.5)
    with pytest.raises(Invalid, match="mu"):
        proximal_term(layer.named_parameters(), start, -1)


def _rounds(*, corrected: bool, steps: int = 10, rate: float = 0.3, rounds: int = 80) -> Tensor:
    """Where many local steps of each site lead the average to."""
    model = {"x": torch.zeros(2)}
    zero = {"x": torch.zeros(2)}
    common, own = zero, [zero] * 3
    for _ in range(rounds):
        ends, changes = [], []
        for site, (centre, curve) in enumerate(zip(CENTRES, CURVES, strict=True)):
            parameter = nn.Parameter(model["x"].clone())
            for _ in range(steps):
                parameter.grad = None
                (curve * (parameter - centre).square() / 2).sum().backward()
                if corrected:
                    correct([("x", parameter)], own[site], common)
                with torch.no_grad():
                    assert parameter.grad is not None
                    parameter -= rate * parameter.grad
            end = {"x": parameter.detach()}
            after = next_control(own[site], common, model, end, steps, rate)
            changes.append(after["x"] - own[site]["x"])
            own[site] = after
            ends.append(end["x"])
        common = next_common(common, {"x": torch.stack(changes).mean(0)}, 3, 3)
        model = {"x": torch.stack(ends).mean(0)}
    return model["x"]


def test_control_variates_lead_different_sites_to_the_common_best() -> None:
    """Plain averaging after many local steps does not get there (Karimireddy et al., 2020, section 3)."""
    torch.testing.assert_close(_rounds(corrected=True), BEST, rtol=1e-3, atol=1e-3)
    assert (_rounds(corrected=False) - BEST).norm() > 0.3


def test_a_control_variate_is_the_mean_gradient_of_the_steps() -> None:
    zero, end = {"x": torch.zeros(1)}, {"x": torch.tensor([-6.0])}
    assert next_control(zero, zero, zero, end, steps=3, rate=0.5)["x"].item() == 4.0
    assert next_common(zero, {"x": torch.tensor([4.0])}, 1, 4)["x"].item() == 1.0


def test_unfit_numbers_are_refused() -> None:
    zero = {"x": torch.zeros(1)}
    with pytest.raises(Invalid, match="say nothing"):
        next_control(zero, zero, zero, zero, 0, 0.1)
    with pytest.raises(Invalid, match="5 of 4"):
        next_common(zero, zero, 5, 4)
    with pytest.raises(Invalid, match="control variate"):
        correct([("y", nn.Parameter(torch.zeros(1)))], zero, zero)
