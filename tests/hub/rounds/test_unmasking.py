"""The sum under masks is the plain sum, whoever drops out where, and below the threshold nothing opens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.documents.masking import Masks, Opened
from tests.hub.rounds.masked import NAMES, Dance, numbers, plain
from trust.errors import Denied, Invalid, Unavailable


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whoever_drops_out_the_sum_is_of_those_whose_updates_came_or_none_is(data: st.DataObject) -> None:
    """Each member leaves before one of the five stages, or stays."""
    count = data.draw(st.integers(3, 6), "members")
    masks = Masks(colluding=data.draw(st.integers(0, count - 3), "colluding"))
    lasts = {name: data.draw(st.integers(0, 5), name) for name in NAMES[:count]}
    dance, updates = Dance(count, masks), numbers(NAMES[:count])
    there = [[name for name, last in lasts.items() if last > stage] for stage in range(5)]
    enough = len(there[4]) >= dance.threshold
    try:
        dance.give_keys(there[0])
        dance.share(there[1])
        dance.mask({name: updates[name] for name in there[2]})
        total = dance.unmask(dance.open(there[4], dance.sign(there[3])))
    except (Denied, Unavailable, StopIteration):
        assert not enough
        return
    assert enough
    assert np.array_equal(total, plain(there[2]))


def summed(count: int = 3) -> tuple[Dance, dict[str, tuple[Opened, ...]]]:
    dance = Dance(count)
    names = NAMES[:count]
    dance.give_keys(names)
    dance.share(names)
    dance.mask(numbers(names))
    return dance, dance.open(names, dance.sign(names))


def test_a_masked_update_looks_like_chance_and_is_another_in_every_attempt() -> None:
    names = NAMES[:3]
    zeros = {name: np.zeros(20_000, np.uint32) for name in names}
    seen = []
    for nonce in ("0" * 64, "1" * 64):
        dance = Dance(3, nonce=nonce)
        dance.give_keys(names)
        dance.share(names)
        dance.mask(zeros)
        seen.append(dance.masked["law"])
    for words in seen:
        counts = np.bincount(words.view(np.uint8), minlength=256)
        assert ((counts - 312.5) ** 2 / 312.5).sum() < 400  # chi squared of 255 degrees: above 400 once in 10^8
    assert not (seen[0] == seen[1]).any()


def test_a_wrong_share_is_noticed_and_does_without_where_there_are_enough_others() -> None:
    dance, opened = summed(4)
    bad = tuple(Opened(member=each.member, share="0" * 131 + "7") for each in opened["law"])
    assert np.array_equal(dance.unmask({**opened, "law": bad}), plain(NAMES[:4]))
    with pytest.raises(Unavailable, match="do not agree"):
        dance.unmask({"law": bad, "medicine": opened["medicine"], "trade": opened["trade"]})


def test_fewer_openings_than_the_threshold_leave_the_sum_masked() -> None:
    dance, opened = summed(4)
    with pytest.raises(Unavailable, match=r"2 shares of law's mask came, and it takes 3"):
        dance.unmask({name: opened[name] for name in ("law", "trade")})


def test_an_update_that_is_none_of_the_sum_is_not_added() -> None:
    dance, opened = summed()
    dance.masked["stranger"] = dance.masked["law"]
    with pytest.raises(Invalid, match="none of this sum"):
        dance.unmask(opened)
