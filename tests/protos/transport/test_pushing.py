"""Parts of a message are made when there is room for them on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from protos.transport.pushing import push


def test_no_more_parts_are_made_than_are_on_their_way() -> None:
    """And all arrive: memory is that of a few parts, however many a message has."""
    pushed: list[str] = []
    lock = threading.Lock()
    most = 0

    def parts() -> Iterator[tuple[str, bytes]]:
        nonlocal most
        for number in range(50):
            with lock:
                most = max(most, number - len(pushed))
            yield str(number), b"part"

    def take(name: str, content: bytes) -> None:
        with lock:
            pushed.append(name)

    push(parts(), take)
    assert sorted(pushed, key=int) == [str(number) for number in range(50)]
    assert most <= 4  # two on their way, and what waits for them


def test_a_part_that_is_not_taken_ends_it() -> None:
    made: list[int] = []

    def parts() -> Iterator[tuple[str, bytes]]:
        for number in range(1000):
            made.append(number)
            yield str(number), b"part"

    def refuse(name: str, content: bytes) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        push(parts(), refuse)
    assert len(made) < 10
