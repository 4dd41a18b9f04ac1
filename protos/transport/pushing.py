"""Objects of a Flower message, pushed as they are made (flwr 1.41): Flower makes all of them before the first has left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

AT_ONCE = 2
"""Objects on their way at a time, as Flower has it."""


def push(
    object_contents: Iterable[tuple[str, bytes]],
    push_object_fn: Callable[[str, bytes], None],
    *,
    max_concurrent_pushes: int = AT_ONCE,
) -> None:
    """In place of `flwr.supercore.inflatable.inflatable_utils.push_object_contents_from_iterable`, with its arguments."""
    with ThreadPoolExecutor(max_concurrent_pushes) as pool:
        under_way: deque[Future[None]] = deque()
        try:
            for name, content in object_contents:
                under_way.append(pool.submit(push_object_fn, name, content))
                if len(under_way) > max_concurrent_pushes:
                    under_way.popleft().result()
            while under_way:
                under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
