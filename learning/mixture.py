"""Which sequence of which dataset stands at which place of a run: a pure function of place, weights and seed. numpy alone.

A run's sequences have places, counted from 0. A place belongs to a pool (a domain, or all the data) by a low-discrepancy
sequence, so that each pool has its share of every short stretch: the fractional parts of multiples of the golden ratio (Weyl,
1916; Knuth, The Art of Computer Programming 3, section 6.4), in whole numbers. How many of the first n places are a pool's is
then a sum that takes as many steps as n has digits, so nobody walks a run from its beginning to know a batch or a total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trust.errors import Invalid

Order = NDArray[np.int64]
_WHOLE = 1 << 32
_STRIDE = 2_654_435_769  # 2^32 over the golden ratio, odd


@dataclass(frozen=True)
class Pool:
    """Whole sequences that are visited in one order, each once an epoch: so many of each dataset in `sequences`."""

    sequences: Mapping[str, int]
    weight: float = 1.0

    @property
    def size(self) -> int:
        return sum(self.sequences.values())


Rows = list[tuple[str, int]]
"""The sequences at consecutive places: each a dataset and which of its sequences, counted from 0."""


def order(count: int, seed: int, epoch: int, salt: Sequence[int] = ()) -> Order:
    """The order in which `epoch` visits `count` sequences: [count]."""
    return np.random.default_rng([seed, epoch, *salt]).permutation(count)


def pools(sequences: Mapping[str, int], domains: Mapping[str, str], weights: Mapping[str, float]) -> list[Pool]:
    """The datasets with so many `sequences` each by their domains, weighed; one pool of all where there are no weights.

    Raises `Invalid` where a pool has no sequence.
    """
    if not weights:
        made = {"": Pool(dict(sequences))}
    else:
        made = {
            domain: Pool({name: n for name, n in sequences.items() if domains[name] == domain}, weight)
            for domain, weight in sorted(weights.items())
        }
    for domain, pool in made.items():
        if not pool.size:
            of = f" of domain {domain}" if domain else ""
            raise Invalid(
                f"The datasets{of} hold less than one sequence of text.", "Give more text or shorter sequences."
            )
    return list(made.values())


@dataclass(frozen=True)
class Mixture:
    """Pools by their weights, in an order that `seed` decides; `salt` tells apart what shares a seed (the stages of a run)."""

    pools: Sequence[Pool]
    seed: int
    salt: tuple[int, ...] = ()
    _orders: dict[int, tuple[int, Order]] = field(default_factory=dict, compare=False, repr=False)

    def rows(self, first: int, count: int) -> Rows:
        """Places `first` to `first + count - 1`."""
        places = np.arange(first, first + count, dtype=np.uint64)
        owners = np.searchsorted(self._bounds[1:], places * _STRIDE % _WHOLE, side="right")
        visited = self._shares(first)
        rows: Rows = []
        for owner in owners.tolist():
            rows.append(self._sequence(owner, visited[owner]))
            visited[owner] += 1
        return rows

    def counts(self, first: int, count: int) -> dict[str, int]:
        """How many sequences of each dataset places `first` to `first + count - 1` hold."""
        before, after = self._visits(first), self._visits(first + count)
        return {name: after[name] - before[name] for name in after}

    @property
    def _bounds(self) -> NDArray[np.uint64]:
        """Where each pool's part of the whole begins, and the end: [pools + 1]."""
        weights = np.array([pool.weight for pool in self.pools])
        edges = np.round(np.cumsum(weights) / weights.sum() * _WHOLE).astype(np.uint64)
        edges[-1] = _WHOLE
        return np.concatenate([np.zeros(1, np.uint64), edges])

    def _shares(self, count: int) -> list[int]:
        """How many of the first `count` places each pool has."""
        below = [_below(count, int(bound)) for bound in self._bounds]
        return [after - before for before, after in pairwise(below)]

    def _sequence(self, pool: int, nth: int) -> tuple[str, int]:
        """The one that a pool gives at its `nth` visit."""
        epoch, place = divmod(nth, self.pools[pool].size)
        index = int(self._order(pool, epoch)[place])
        for name, size in self.pools[pool].sequences.items():
            if index < size:
                return name, index
            index -= size
        raise AssertionError("an order holds no more than its pool")

    def _order(self, pool: int, epoch: int) -> Order:
        known = self._orders.get(pool)
        if known is None or known[0] != epoch:
            salt = (*self.salt, pool) if len(self.pools) > 1 else self.salt
            known = (epoch, order(self.pools[pool].size, self.seed, epoch, salt))
            self._orders[pool] = known
        return known[1]

    def _visits(self, count: int) -> dict[str, int]:
        """Of each dataset, in the first `count` places."""
        found: dict[str, int] = {}
        for number, (pool, visits) in enumerate(zip(self.pools, self._shares(count), strict=True)):
            epochs, rest = divmod(visits, pool.size)
            edges = np.cumsum([0, *pool.sequences.values()])
            part, _ = np.histogram(self._order(number, epochs)[:rest] if rest else [], edges)
            for (name, size), more in zip(pool.sequences.items(), part, strict=True):
                found[name] = epochs * size + int(more)
        return found


def _below(count: int, bound: int) -> int:
    """How many i in 0 .. count - 1 have i * _STRIDE mod _WHOLE < bound, for 0 <= bound <= _WHOLE."""
    return _floors(count, _WHOLE, _STRIDE, 0) - _floors(count, _WHOLE, _STRIDE, _WHOLE - bound) + count


def _floors(count: int, modulus: int, factor: int, offset: int) -> int:
    """The sum of floor((factor * i + offset) / modulus) over i in 0 .. count - 1, as Euclid's algorithm finds it (Graham, Knuth,
    Patashnik, Concrete Mathematics, section 3.5)."""
    total = 0
    while count > 0:
        total += (count - 1) * count // 2 * (factor // modulus) + count * (offset // modulus)
        factor, offset = factor % modulus, offset % modulus
        top = factor * count + offset
        if top < modulus:
            break
        count, offset = divmod(top, modulus)
        modulus, factor = factor, modulus
    return total
