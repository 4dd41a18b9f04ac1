"""How often a party may call: a token bucket for each party, not for each address.

The bucket is J. Turner's ("New directions in communications", IEEE Communications Magazine 24, 1986).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from trust.errors import Exhausted

MAX_PARTIES = 10_000


@dataclass(frozen=True)
class Bucket:
    """`tokens` that were left at the time `at` (seconds of any steady clock)."""

    tokens: float
    at: float


@dataclass(frozen=True)
class Limit:
    """`rate` tokens a second flow in; `burst` is the most that a bucket holds, and what it starts with."""

    rate: float
    burst: float

    def take(self, bucket: Bucket, now: float) -> tuple[Bucket, float]:
        """One token: the bucket afterwards, and the seconds until one will be there (0: it was taken)."""
        tokens = min(self.burst, bucket.tokens + max(0.0, now - bucket.at) * self.rate)
        if tokens >= 1:
            return Bucket(tokens - 1, now), 0.0
        return Bucket(tokens, now), (1 - tokens) / self.rate


class Rates:
    """One bucket for each party that called of late; for one event loop."""

    def __init__(self, limit: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def spend(self, party: str) -> None:
        """Raises `Exhausted` with the time to wait."""
        now = self._clock()
        bucket, wait = self._limit.take(self._buckets.pop(party, Bucket(self._limit.burst, now)), now)
        self._buckets[party] = bucket
        if len(self._buckets) > MAX_PARTIES:
            self._buckets.popitem(last=False)
        if wait:
            raise Exhausted(
                f"You call more often than {self._limit.rate:g} times a second.",
                f"Wait for {wait:.2g} seconds.",
                retry_after=wait,
            )
