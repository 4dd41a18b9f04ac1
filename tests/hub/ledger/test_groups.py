"""Group commit: everybody's item is committed once, in order; those who wait together go together."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from hub.ledger.groups import LIMIT, Groups

Item = tuple[int, Future[int]]


def test_what_waits_while_a_group_is_written_goes_together() -> None:
    sizes: list[int] = []
    gate = threading.Event()

    def commit(group: list[Item]) -> None:
        gate.wait()
        sizes.append(len(group))
        for number, done in group:
            done.set_result(number)

    groups = Groups(commit, "test")
    items: list[Item] = [(number, Future()) for number in range(LIMIT + 10)]
    groups.add(items[0])
    groups.start()
    for item in items[1:]:
        groups.add(item)
    gate.set()
    assert [done.result() for _, done in items] == list(range(LIMIT + 10))
    groups.stop()
    assert sum(sizes) == LIMIT + 10
    assert len(sizes) <= 3
    assert max(sizes) <= LIMIT


def test_stopping_finishes_what_is_queued() -> None:
    seen: list[int] = []
    groups: Groups[int] = Groups(seen.extend, "test")
    for number in range(5):
        groups.add(number)
    groups.start()
    groups.stop()
    assert seen == [0, 1, 2, 3, 4]


def test_many_callers_are_all_answered() -> None:
    def commit(group: list[Item]) -> None:
        for number, done in group:
            done.set_result(2 * number)

    groups = Groups(commit, "test")
    groups.start()

    def call(number: int) -> int:
        done: Future[int] = Future()
        groups.add((number, done))
        return done.result()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(call, range(500))) == [2 * number for number in range(500)]
    groups.stop()
