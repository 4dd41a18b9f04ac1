"""One party's work has few threads at a time, and nobody else's waits for it: order is what is tested, no time is measured."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextvars import ContextVar
from typing import Any

import pytest

from hub.threads import Threads

_party: ContextVar[str | None] = ContextVar("party", default=None)


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(8, 2, _party.get)
    yield threads
    threads.shutdown()


def hand(threads: Threads, party: str | None, work: Any, *given: Any) -> Future[Any]:
    token = _party.set(party)
    try:
        return threads.submit(work, *given)
    finally:
        _party.reset(token)


def test_a_party_with_much_to_do_keeps_no_thread_from_another(threads: Threads) -> None:
    """Twenty pieces of one party's wait for something: another party's, and the hub's own, are done meanwhile."""
    gate = threading.Event()
    flood = [hand(threads, "flood", gate.wait, 60) for _ in range(20)]
    assert hand(threads, "quiet", int, "7").result(60) == 7
    assert hand(threads, None, int, "8").result(60) == 8
    assert not any(each.done() for each in flood)
    gate.set()
    assert not wait(flood, 60).not_done


def test_no_more_than_its_share_of_a_partys_work_goes_on_at_once_and_in_order(threads: Threads) -> None:
    now, most, order, counting = 0, 0, [], threading.Lock()

    def work(number: int) -> None:
        nonlocal now, most
        with counting:
            order.append(number)
            now += 1
            most = max(most, now)
        threading.Event().wait(0.001)
        with counting:
            now -= 1

    done = [hand(threads, "flood", work, number) for number in range(50)]
    assert not wait(done, 60).not_done
    assert most == 2
    assert all(abs(place - number) <= 1 for place, number in enumerate(order))


def test_what_fails_and_what_is_given_up_make_room_for_the_next(threads: Threads) -> None:
    gate = threading.Event()
    held = [hand(threads, "flood", gate.wait, 60) for _ in range(2)]
    failing = hand(threads, "flood", int, "seven")
    given_up = hand(threads, "flood", int, "9")
    last = hand(threads, "flood", int, "10")
    assert given_up.cancel()
    gate.set()
    with pytest.raises(ValueError, match="seven"):
        failing.result(60)
    assert last.result(60) == 10
    assert [each.result(60) for each in held] == [True, True]
