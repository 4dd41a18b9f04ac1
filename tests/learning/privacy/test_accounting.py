"""What noise costs: as the best accountant says, and never less when more is told."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.privacy.accounting import delta_of, epsilon_of, mu_of
from trust.errors import Invalid

RECORDED = json.loads(Path(__file__).with_name("dp_accounting.json").read_text())
NOISE = st.floats(0.2, 50)
DELTAS = st.floats(1e-12, 0.1)


@pytest.mark.parametrize("said", RECORDED, ids=str)
def test_it_is_what_the_accountant_of_privacy_losses_says_and_below_renyi(said: dict[str, Any]) -> None:
    """Theirs of privacy losses errs upwards, by its grid; that of Rényi divergences is looser."""
    found = epsilon_of(mu_of(said["answers"]), said["delta"])
    assert found == pytest.approx(said["pld"], rel=1e-5)
    assert found <= said["pld"] < said["rdp"]


@given(NOISE, DELTAS)
def test_epsilon_and_delta_are_each_others_answer_and_err_upwards(noise: float, delta: float) -> None:
    mu = mu_of([(1, noise)])
    epsilon = epsilon_of(mu, delta)
    assert delta_of(epsilon, mu) <= delta
    if epsilon:
        assert delta_of(epsilon * (1 - 1e-6), mu) > delta * (1 - 1e-9)


@given(NOISE, DELTAS, st.integers(1, 100), st.integers(1, 100))
def test_more_answers_cost_more_in_any_order_and_together(noise: float, delta: float, one: int, other: int) -> None:
    together = epsilon_of(mu_of([(one + other, noise)]), delta)
    assert together == pytest.approx(epsilon_of(mu_of([(other, noise), (one, noise)]), delta))
    assert together >= epsilon_of(mu_of([(one, noise)]), delta)
    assert epsilon_of(mu_of([(one, noise * 2)]), delta) <= epsilon_of(mu_of([(one, noise)]), delta)


def test_nothing_told_costs_nothing_and_much_is_still_a_number() -> None:
    assert epsilon_of(mu_of([]), 1e-6) == 0
    assert delta_of(0, 0) == 0
    assert math.isfinite(epsilon_of(mu_of([(10_000, 0.01)]), 1e-9))


def test_what_has_no_answer_is_refused() -> None:
    for delta in (0, 1, math.nan):
        with pytest.raises(Invalid, match="delta"):
            epsilon_of(1, delta)
    with pytest.raises(Invalid, match="hides nothing"):
        mu_of([(1, 0)])
