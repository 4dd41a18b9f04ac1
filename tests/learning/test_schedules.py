from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.schedules import cosine_with_warmup, warmup_stable_decay
from trust.errors import Invalid


@given(st.integers(1, 500), st.floats(0, 1), st.data())
def test_it_rises_to_one_then_falls_to_the_floor(total: int, floor: float, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total))
    values = [cosine_with_warmup(step, total, warmup, floor) for step in range(total + 3)]
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    assert values[:warmup] == sorted(values[:warmup])
    assert values[warmup:] == sorted(values[warmup:], reverse=True)
    assert max(values[: warmup + 1]) == pytest.approx(1)
    assert values[-1] == pytest.approx(floor)


def test_known_points() -> None:
    assert cosine_with_warmup(0, 11, 0, 0.0) == 1
    assert cosine_with_warmup(5, 11, 0, 0.0) == pytest.approx(0.5)
    assert cosine_with_warmup(1, 10, 4, 0.1) == 0.5


@pytest.mark.parametrize("wrong", [(0, 0, 0, 0.0), (0, 5, 6, 0.0), (0, 5, 1, 1.5), (-1, 5, 1, 0.0)])
def test_impossible_schedules_are_refused(wrong: tuple[int, int, int, float]) -> None:
    with pytest.raises(Invalid):
        cosine_with_warmup(*wrong)


@given(st.integers(1, 500), st.floats(0, 1), st.data())
def test_it_rises_stays_and_falls_in_a_straight_line(total: int, floor: float, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total))
    decay = data.draw(st.integers(0, total - warmup))
    values = [warmup_stable_decay(step, total, warmup, decay, floor) for step in range(total)]
    assert values[:warmup] == sorted(values[:warmup])
    assert values[warmup : total - decay] == [1.0] * (total - decay - warmup)
    falling = values[total - decay :]
    assert falling == sorted(falling, reverse=True)
    assert not decay or falling[-1] == pytest.approx(floor)
    drops = [a - b for a, b in pairwise([1.0, *falling])]
    assert all(drop == pytest.approx(drops[0], abs=1e-9) for drop in drops)


def test_a_decay_that_does_not_fit_is_refused() -> None:
    assert [warmup_stable_decay(step, 8, 2, 4, 0.0) for step in range(8)] == [0.5, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    with pytest.raises(Invalid, match="3 warm-up steps and 6 decay steps do not fit into 8"):
        warmup_stable_decay(0, 8, 3, 6, 0.0)
