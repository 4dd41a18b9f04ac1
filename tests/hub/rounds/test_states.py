"""Which campaign is worked on, and when one is over."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hub.rounds import states
from hub.rounds.states import Failures, Standing

standings = st.builds(
    Standing,
    id=st.text("ab", min_size=1, max_size=3),
    index=st.integers(0, 50),
    rounds=st.integers(1, 5),
    done=st.integers(0, 5),
    minimum=st.integers(1, 4),
    consents=st.integers(0, 5),
    stop=st.sampled_from(["", "enough"]),
    held=st.sampled_from(["", "a look"]),
    outcome=st.sampled_from(["", "finished", "stopped", "failed"]),
)
READY = Standing(id="campaign-a", index=3, rounds=3, done=1, minimum=2, consents=2)


@given(st.lists(standings))
def test_work_is_open_agreed_to_and_the_oldest_of_its_kind(found: list[Standing]) -> None:
    work = states.next_work(found)
    workable = [each for each in found if not (each.outcome or each.stop or each.held) and each.done < each.rounds]
    agreed = [each for each in workable if each.consents >= each.minimum]
    assert (work is None) == (not agreed)
    if work is not None:
        assert work in agreed
        assert work.index == min(each.index for each in agreed)


@given(standings, st.integers(0, 10))
def test_a_campaign_ends_once_and_with_its_own_outcome(campaign: Standing, count: int) -> None:
    end = states.ending(campaign, Failures(campaign.done + 1, count, "no site gave an update"))
    if campaign.outcome:
        assert end is None
    elif campaign.done >= campaign.rounds:
        assert end == ("finished", "")
    elif campaign.stop:
        assert end == ("stopped", campaign.stop)
    elif count >= states.MAX_FAILURES:
        assert end is not None
        assert end[0] == "failed"
        assert "no site gave an update" in end[1]
    else:
        assert end is None


def test_a_campaign_that_members_do_not_join_in_time_fails() -> None:
    waiting = replace(READY, consents=1, join_by="2026-02-01T00:00:00.000Z")
    assert states.ending(waiting, Failures(), "2026-01-31T23:59:59.999Z") is None
    reason = "1 of at least 2 members took part by 2026-02-01T00:00:00.000Z"
    assert states.ending(waiting, Failures(), "2026-02-01T00:00:00.001Z") == ("failed", reason)
    assert states.ending(replace(waiting, consents=2), Failures(), "2026-03-01T00:00:00.000Z") is None


def test_failures_count_only_within_one_round() -> None:
    failures = Failures()
    for _ in range(states.MAX_FAILURES - 1):
        failures = states.failed(failures, 2, "no update")
    assert states.ending(READY, failures) is None
    assert states.ending(READY, states.failed(failures, 2, "no update")) is not None
    further = states.failed(failures, 3, "no update")
    assert further.count == 1
    assert states.ending(replace(READY, done=2), further) is None


@given(st.integers(1, 60))
def test_pauses_grow_to_a_limit(count: int) -> None:
    assert states.pause(Failures()) == 0
    assert states.pause(Failures(1, count)) <= states.pause(Failures(1, count + 1)) <= states.LONGEST_PAUSE


def test_users_see_why_a_campaign_waits() -> None:
    assert states.state_of(replace(READY, consents=1), "") == ("waiting", "1 of at least 2 members have joined")
    assert states.state_of(READY, "campaign-b") == ("waiting", "campaign-b comes first")
    assert states.state_of(READY, READY.id) == ("running", "")
    assert states.state_of(replace(READY, held="a look"), READY.id) == ("paused", "a look")
    assert states.state_of(replace(READY, held="a look", outcome="stopped", reason="no"), "") == ("stopped", "no")
    assert states.state_of(replace(READY, outcome="failed", reason="why"), "") == ("failed", "why")
