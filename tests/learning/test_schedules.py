from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.schedules import cosine_with_warmup
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
