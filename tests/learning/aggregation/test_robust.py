"""One bad update of five does not move a robust aggregate beyond the honest spread, whatever it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learning.aggregation.guards import Asked, Offered, admitted
from learning.aggregation.means import RunningMean
from learning.aggregation.robust import clipped, coordinate_median, krum, trimmed_mean
from learning.updates import check_names_and_shapes
from trust.errors import Invalid

Update = dict[str, Tensor]
ASKED = Asked(7, {7: "seven"})


def _mean(updates: Sequence[Update]) -> Update:
    mean = RunningMean()
    for update in updates:
        mean.add(update, 1)
    return mean.result()


def _krum(updates: Sequence[Update], keep: int) -> Update:
    """With an update excluded by a guard, four remain: Krum then stands up to no other bad one, and says so."""
    return _mean([updates[place] for place in krum(updates, (len(updates) - 3) // 2, keep)])


RULES: dict[str, Callable[[Sequence[Update]], Update]] = {
    "trimmed mean": lambda updates: trimmed_mean(updates, 1),
    "median": coordinate_median,
    "krum": lambda updates: _krum(updates, 1),
    "multi-krum": lambda updates: _krum(updates, 3),
}


def _round(seed: int) -> tuple[Update, list[Update]]:
    """What was sent out, and four honest updates: a common way and a spread around it."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(scale: float) -> Update:
        return {"a": torch.randn(6, 5, generator=generator) * scale, "b": torch.randn(9, generator=generator) * scale}

    start, way = drawn(1.0), drawn(1.0)
    honest = [
        {name: start[name] + way[name] + spread[name] for name in start} for spread in (drawn(0.2) for _ in range(4))
    ]
    return start, honest


def _away(one: Update, other: Update) -> float:
    return math.sqrt(sum(float((one[name] - other[name]).square().sum()) for name in one))


def _sign_flip(start: Update, honest: Update) -> tuple[Update, Offered]:
    return {name: 2 * start[name] - honest[name] for name in start}, Offered(7, "seven", "bad")


def _thousandfold(start: Update, honest: Update) -> tuple[Update, Offered]:
    return {name: start[name] + 1000 * (honest[name] - start[name]) for name in start}, Offered(7, "seven", "bad")


def _nan(start: Update, honest: Update) -> tuple[Update, Offered]:
    return honest | {"b": torch.full((9,), float("nan"))}, Offered(7, "seven", "bad")


def _wrong_shape(start: Update, honest: Update) -> tuple[Update, Offered]:
    return honest | {"a": honest["a"].T.contiguous()}, Offered(7, "seven", "bad")


def _stale(start: Update, honest: Update) -> tuple[Update, Offered]:
    return {name: tensor - 3 for name, tensor in honest.items()}, Offered(4, "four", "bad")


ATTACKS = {
    "sign flip": (_sign_flip, None),
    "x1000": (_thousandfold, "over the bound"),
    "NaN": (_nan, "NaN or infinity"),
    "wrong shape": (_wrong_shape, "has shape"),
    "stale": (_stale, "is of round 4"),
}


def objection(*given: Any, **more: Any) -> str | None:
    """Why an update is not admitted."""
    try:
        admitted(*given, **more)
    except Invalid as problem:
        return problem.what
    return None


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", [0, 4])
def test_one_bad_update_of_five_does_not_move_it(attack: str, rule: str, place: int) -> None:
    start, honest = _round(1)
    make, reason = ATTACKS[attack]
    bad, offered = make(start, honest[0])
    sent = [(update, Offered(7, "seven", f"good {n}")) for n, update in enumerate(honest)]
    sent.insert(place, (bad, offered))
    objections = [objection(update, start, offer, ASKED) for update, offer in sent]
    assert all(found is None for n, found in enumerate(objections) if n != place)
    if reason is None:
        assert objections[place] is None
    else:
        assert reason in str(objections[place])
    fit = [update for (update, _), found in zip(sent, objections, strict=True) if found is None]
    spread = max(_away(update, _mean(honest)) for update in honest)
    assert _away(RULES[rule](fit), _mean(honest)) <= spread


@pytest.mark.parametrize("attack", ["sign flip", "x1000", "NaN", "stale"])
def test_the_rules_stand_up_without_a_guard(attack: str) -> None:
    """And the mean does not: that the tests above pass is not the guard's doing."""
    start, honest = _round(2)
    five = [*honest, ATTACKS[attack][0](start, honest[0])[0]]
    spread = max(_away(update, _mean(honest)) for update in honest)
    for rule in RULES.values():
        assert _away(rule(five), _mean(honest)) <= spread
    assert not _away(_mean(five), _mean(honest)) <= spread


def test_a_replay_and_another_start_are_named() -> None:
    start, honest = _round(3)
    assert (
        objection(honest[0], start, Offered(7, "seven", "one"), ASKED, {"one"})
        == "The same update was averaged before."
    )
    assert "did not start" in str(objection(honest[0], start, Offered(7, "other", "one"), ASKED))
    late = Asked(7, {6: "six", 7: "seven"}, most_late=1)
    assert objection(honest[0], start, Offered(6, "six", "one"), late) is None
    assert "round 8" in str(objection(honest[0], start, Offered(8, "seven", "one"), late))
    assert "is of round 5" in str(objection(honest[0], start, Offered(5, "six", "one"), late))
    assert "over the bound" in str(objection(honest[0], start, Offered(7, "seven", "x"), ASKED, max_norm=0.1))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.integers(0, 999), st.data())
def test_trimmed_means_and_medians_are_those_of_sorted_values(count: int, seed: int, data: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(seed)
    updates = [{"a": torch.randn(2, 3, generator=generator)} for _ in range(count)]
    trim = data.draw(st.integers(0, (count - 1) // 2))
    ordered = torch.stack([update["a"] for update in updates]).numpy()
    ordered.sort(axis=0)
    expected = torch.from_numpy(ordered[trim : count - trim].mean(axis=0))
    torch.testing.assert_close(trimmed_mean(updates, trim)["a"], expected)
    middle = torch.stack([update["a"] for update in updates]).quantile(0.5, dim=0)
    torch.testing.assert_close(coordinate_median(updates)["a"], middle)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4))
def test_krum_chooses_as_flower_does(seed: int, keep: int) -> None:
    from flwr.serverapp.strategy import multikrum

    generator = torch.Generator().manual_seed(seed)
    updates: list[Any] = [{"a": torch.randn(4, 3, generator=generator)} for _ in range(7)]
    contents = [RecordDict({"arrays": ArrayRecord({"a": Array(update["a"].numpy())})}) for update in updates]
    theirs = multikrum.select_multikrum(contents, num_malicious_nodes=2, num_nodes_to_select=keep)
    assert [contents[place] for place in krum(updates, 2, keep)] == theirs


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e3), st.integers(0, 99))
def test_a_clipped_update_keeps_its_way_within_the_bound(most: float, seed: int) -> None:
    start, honest = _round(seed)
    found, norm = clipped(honest[0], start, most)
    assert norm == pytest.approx(_away(honest[0], start), rel=1e-4)
    assert _away(found, start) == pytest.approx(min(most, norm), rel=1e-3)
    assert _away(found, honest[0]) == pytest.approx(max(0.0, norm - most), rel=1e-3, abs=1e-3)


def test_what_would_not_stand_up_is_refused() -> None:
    start, honest = _round(4)
    with pytest.raises(Invalid, match="5 or more, not of 4"):
        krum(honest, 1)
    with pytest.raises(Invalid, match="Keep 1 to 4"):
        krum([*honest, start], 1, 5)
    with pytest.raises(Invalid, match="Nothing remains"):
        trimmed_mean(honest, 2)
    with pytest.raises(Invalid, match="no update"):
        coordinate_median([])
    with pytest.raises(Invalid, match="clipped"):
        clipped(start, start, 0.0)
    with pytest.raises(Invalid):
        check_names_and_shapes(trimmed_mean([start, {"a": start["a"]}], 0), start)
