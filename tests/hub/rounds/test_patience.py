"""How long a round waits for a site."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hub.rounds.parts import Part
from hub.rounds.patience import AWAY, MAX_SENDINGS, SILENT_AT_LEAST, SILENT_FACTOR, Waiting, move, reason
from hub.rounds.plan import Site
from trust.digests import digest_bytes

seconds = st.floats(0, 1e6)
waitings = st.builds(
    Waiting,
    activation=st.sampled_from(["", "monday", "tuesday"]),
    sent_to=st.sampled_from(["", "monday", "tuesday"]),
    sendings=st.integers(0, MAX_SENDINGS),
    away=seconds,
    silent=seconds,
    failed=st.booleans(),
)


@given(waitings, st.lists(st.floats(0.1, 1e4)))
def test_a_task_goes_only_to_a_site_that_is_there_and_not_for_ever(site: Waiting, answers: list[float]) -> None:
    if move(site, answers) == "send":
        assert site.activation
        assert site.sendings < MAX_SENDINGS
        assert site.failed or site.activation != site.sent_to


@given(waitings)
def test_nobody_is_left_out_for_slowness_before_there_is_an_update(site: Waiting) -> None:
    if not site.failed:
        assert move(site, []) != "leave out"


@given(waitings, st.floats(0.1, 1e4))
def test_nobody_holds_up_a_round_for_ever(site: Waiting, answer: float) -> None:
    late = SILENT_FACTOR * answer + SILENT_AT_LEAST + AWAY + 1
    waiting = Waiting(site.activation, site.sent_to, MAX_SENDINGS, late, late, failed=site.failed)
    assert move(waiting, [answer]) == "leave out"
    assert reason(waiting).startswith("its site ")


@given(waitings, st.lists(st.floats(0.1, 1e4), max_size=4), st.integers(1, 4))
def test_the_slow_are_waited_for_until_enough_came_or_the_deadline_passed(
    site: Waiting, answers: list[float], needed: int
) -> None:
    if len(answers) < needed and not site.failed:
        assert move(site, answers, needed) != "leave out"
    assert move(replace(site, late=True), answers, needed) == "leave out"
    assert reason(replace(site, late=True)).startswith("the round's deadline passed while its site ")


@given(waitings, st.integers(2, 9), st.data())
def test_who_answers_first_is_not_the_round_where_a_rule_needs_more(
    site: Waiting, needed: int, data: st.DataObject
) -> None:
    answers = data.draw(st.lists(st.floats(0.1, 1e4), max_size=needed - 1))
    if not site.failed:
        assert move(site, answers, needed) != "leave out"


def test_while_a_large_message_may_be_on_its_way_over_a_slow_link_its_site_is_not_silent() -> None:
    """However large it is: nobody has to tell the campaign how long a gigabyte takes."""
    sent_at, billion = time.monotonic() - 4 * 3600, 10**9
    site = Site(member="law", key=digest_bytes(b"law"))
    for size, expected in ((0, "leave out"), (billion, "wait"), (billion // 10, "leave out")):
        part = Part(site, activation="monday", sent_to="monday", message="m", sent_at=sent_at, size=size)
        assert move(part.seen(math.inf), [3.0]) == expected


def test_a_site_that_came_back_gets_its_task_again() -> None:
    assert move(Waiting("tuesday", "monday", 1, 0, 20), [3.0]) == "send"
    assert move(Waiting("monday", "monday", 1, 0, 20), [3.0]) == "wait"
    assert move(Waiting("", "monday", 1, 20, 20), [3.0]) == "wait"
    assert move(Waiting("", "monday", 1, AWAY + 1, 100), [3.0]) == "leave out"
