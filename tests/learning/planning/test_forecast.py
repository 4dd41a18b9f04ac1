from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.planning.forecast import Assumptions, Forecast, forecast
from learning.planning.hardware import accelerator
from trust.errors import Invalid

SURE = Assumptions(mfu=0.5, price=2.0, disk=1e9, mtbf=1e9, restart=0.0)


def of(assumed: Assumptions = SURE, nodes: int = 8, steps: int = 1000) -> Forecast:
    """Steps of 10 seconds of undisturbed work."""
    return forecast(
        step_flops=64 * 1e15 * 0.5 * 10,
        step_tokens=1_000_000,
        steps=steps,
        accelerators=8 * nodes,
        nodes=nodes,
        peak=1e15 * 8 / nodes,
        watts=700,
        checkpoint_bytes=80 * 10**9,
        assumed=assumed,
    )


def test_time_follows_from_operations_and_the_share_of_the_peak() -> None:
    told = of()
    assert told.step == pytest.approx(10)
    assert told.tokens_per_second == pytest.approx(100_000)
    assert told.days == pytest.approx(10_000 / 86_400, rel=0.01)
    assert told.cost == pytest.approx(64 * 10_000 / 3600 * 2.0, rel=0.01)
    assert told.energy == pytest.approx(64 * 10_000 / 3600 * 0.7 * 1.6, rel=0.01)


def test_checkpoints_are_as_frequent_as_failures_make_it_worth() -> None:
    """Daly's first order: the square root of twice writing time by time between failures."""
    told = of(replace(SURE, mtbf=800.0))
    assert told.checkpoint == pytest.approx(10)
    assert told.every == round((2 * 10 * 100 * 3600) ** 0.5 / 10)
    assert told.failures == pytest.approx(10_000 / 360_000)


@given(st.floats(10, 1e6), st.floats(10, 1e6))
def test_nodes_that_fail_more_often_lose_more(one: float, other: float) -> None:
    worse, better = (of(replace(SURE, mtbf=hours), steps=10**6) for hours in sorted((one, other)))
    assert worse.lost >= better.lost * 0.999  # steps are whole


def test_accelerators_go_by_their_makers_names() -> None:
    assert accelerator("NVIDIA H200").memory == 141 * 10**9
    assert accelerator("AMD-Instinct-MI300X").name == "mi300x"
    with pytest.raises(Invalid, match="Nothing is known of an accelerator 'abacus'"):
        accelerator("abacus")
