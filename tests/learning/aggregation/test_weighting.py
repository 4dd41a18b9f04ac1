from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.aggregation.weighting import Standing, freshness, shares
from trust.errors import Invalid

STANDINGS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.builds(Standing, st.integers(1, 10**9), st.floats(0.01, 100)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(STANDINGS, st.sampled_from(["equal", "examples", "quality"]), st.floats(0.05, 1.0))
def test_shares_sum_to_one_and_none_exceeds_the_cap(standings, weighting, cap) -> None:  # type: ignore[no-untyped-def]
    found = shares(standings, weighting, cap)
    free = shares(standings, weighting)
    assert sum(share.weight for share in found.values()) == pytest.approx(1)
    assert max(share.weight for share in found.values()) <= max(cap, 1 / len(standings)) + 1e-9
    for one in standings:  # whoever weighed more still does not weigh less
        for other in standings:
            if free[one].weight >= free[other].weight:
                assert found[one].weight >= found[other].weight - 1e-9
        assert found[one].reason
        assert ("by the cap" in found[one].reason) == (found[one].weight != pytest.approx(free[one].weight, rel=1e-9))


def test_what_a_cap_takes_the_others_get_in_proportion() -> None:
    found = shares({"big": Standing(800), "mid": Standing(150), "small": Standing(50)}, "examples", cap=0.5)
    assert {member: share.weight for member, share in found.items()} == pytest.approx(
        {"big": 0.5, "mid": 0.375, "small": 0.125}
    )
    assert found["big"].reason == "800 examples; 80.0% became 50.0% by the cap on one member's share"


def test_a_cap_on_one_may_push_the_next_over_it() -> None:
    found = shares({"a": Standing(900), "b": Standing(90), "c": Standing(10)}, "examples", cap=0.4)
    assert [found[member].weight for member in "abc"] == pytest.approx([0.4, 0.4, 0.2])


def test_low_quality_is_left_out_and_told() -> None:
    found = shares({"a": Standing(1, 0.2), "b": Standing(9, 0.6), "c": Standing(9, 0.3)}, "quality", floor=0.25)
    assert found["a"].weight == 0
    assert found["a"].reason == "left out: quality 0.2 below the floor of 0.25"
    assert found["b"].weight == pytest.approx(2 / 3)
    with pytest.raises(Invalid, match="No member"):
        shares({"a": Standing(1, 0.2)}, "equal", floor=0.25)
    with pytest.raises(Invalid, match="not measured"):
        shares({"a": Standing(1)}, "quality")


def test_a_late_update_counts_less() -> None:
    assert [freshness(late) for late in (0, 3, 8)] == pytest.approx([1, 1 / 2, 1 / 3])
    assert freshness(5, exponent=0) == 1
    found = shares({"a": Standing(1), "b": Standing(1, late=3)}, "equal")
    assert [found[member].weight for member in "ab"] == pytest.approx([1 / 2, 1 / 4])  # the rest is nobody's
    assert found["b"].reason == "every member counts the same; 3 rounds late, so it counts 50.0% of that"
    with pytest.raises(Invalid, match="rounds late"):
        freshness(-1)


def test_an_impossible_cap_is_refused() -> None:
    for cap in (0.0, 1.1):
        with pytest.raises(Invalid, match="capped"):
            shares({"a": Standing(1)}, "equal", cap=cap)
