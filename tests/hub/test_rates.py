"""A token bucket lets through what its limit says and no more; the wait it names is enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import rates
from hub.rates import Bucket, Limit, Rates
from trust.errors import Exhausted

LIMITS = st.builds(Limit, st.floats(0.1, 1000), st.floats(1, 1000))
PAUSES = st.lists(st.floats(0, 10), max_size=200)


@given(LIMITS, PAUSES)
def test_never_more_than_the_burst_and_what_flowed_in(limit: Limit, pauses: list[float]) -> None:
    bucket, now, taken = Bucket(limit.burst, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        bucket, wait = limit.take(bucket, now)
        taken += wait == 0
        assert 0 <= bucket.tokens <= limit.burst
    assert taken <= limit.burst + limit.rate * now + 1e-6


@given(LIMITS, PAUSES)
def test_who_waits_as_told_is_let_through(limit: Limit, pauses: list[float]) -> None:
    bucket, now = Bucket(limit.burst, 0.0), 0.0
    for pause in pauses:
        now += pause
        bucket, wait = limit.take(bucket, now)
        if wait:
            bucket, again = limit.take(bucket, now + wait * (1 + 1e-9) + 1e-9)
            now += wait * (1 + 1e-9) + 1e-9
            assert again == 0


@given(LIMITS, st.floats(0, 100), st.floats(0, 100))
def test_a_clock_that_runs_back_gives_nothing(limit: Limit, at: float, back: float) -> None:
    bucket, _ = limit.take(Bucket(0.0, at), at - back)
    assert bucket.tokens == 0


def test_one_partys_bucket_is_not_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    spending = Rates(Limit(rate=1, burst=2), clock=lambda: now[0])
    spending.spend("a")
    spending.spend("a")
    with pytest.raises(Exhausted, match="more often than 1 times") as caught:
        spending.spend("a")
    assert caught.value.retry_after == pytest.approx(1)
    spending.spend("b")
    now[0] = 1.0
    spending.spend("a")
    monkeypatch.setattr(rates, "MAX_PARTIES", 5)
    for number in range(100):
        spending.spend(f"party-{number}")
    assert len(spending._buckets) <= 6 + 1
