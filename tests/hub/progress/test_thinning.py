"""However long a course is, what stays of it is bounded, and what stands out stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.progress import thinning
from hub.progress.thinning import KEPT, Row, extremes, superfluous

CURVES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


@given(CURVES, st.integers(thinning.FEWEST, 60))
def test_a_thinned_curve_has_its_ends_its_lowest_and_its_highest(values: list[float], limit: int) -> None:
    points = list(enumerate(values))
    kept = extremes(points, limit)
    assert len(kept) <= limit
    assert kept == sorted(set(kept) & set(points))
    assert {points[0], points[-1]} <= set(kept)
    assert (min(values), max(values)) == (min(value for _, value in kept), max(value for _, value in kept))


def test_a_spike_stays_however_often_a_course_is_thinned() -> None:
    rows: list[Row] = []
    for step in range(1, 12_001):
        rows.append(Row(step, "", [(step, "loss", 9.0 if step == 500 else 1.0), (step, "mfu", 0.4)]))
        if step % 3000 == 0:
            gone = superfluous(rows)
            rows = [row for row in rows if row.sequence not in gone]
            assert len(rows) <= KEPT
    assert 500 in {row.sequence for row in rows}


def test_a_value_that_was_trained_again_is_no_extreme() -> None:
    rows = [Row(number, "", [(number, "loss", 9.0 if number == 50 else 1.0)]) for number in range(1, 2001)]
    again = Row(2001, "", [(50, "loss", 1.0)])
    assert 50 in superfluous([*rows, again])


def test_what_processes_write_takes_no_room_from_what_is_told_and_many_names_none_from_a_few() -> None:
    told = [Row(number, f"note {number}") for number in range(100)]
    logged = [Row(100 + number, f"log: line {number}") for number in range(5000)]
    names = [Row(5100 + number, "", [(1, f"loss/d{number}", 1.0)]) for number in range(5000)]
    losses = [Row(10_100 + number, "", [(number, "loss", float(number))]) for number in range(2000)]
    gone = superfluous([*told, *logged, *names, *losses])
    assert not gone & {row.sequence for row in told}
    assert len([*told, *logged, *names, *losses]) - len(gone) <= KEPT
    assert losses[-1].sequence not in gone
