"""What a base run trains on at each of its steps: a pure function of its spec, its tokens and the batches that it skipped.

The worker takes its batches from here, and the hub the tokens of each dataset that went into the model: one cannot say other
than the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from learning.mixture import Mixture, Rows, pools
from protos.documents.course import Leg
from protos.documents.runs import RunSpec

Skips = Sequence[tuple[int, int]]
"""(after, until): a spike in the loss sent training back to step `after`, and it went on with the batches after step `until`."""


class Feed:
    """For a corpus of so many `tokens` of each dataset, whose `domains` are known. Raises `Invalid` where a leg has no data."""

    def __init__(self, spec: RunSpec, tokens: Mapping[str, int], domains: Mapping[str, str]) -> None:
        self._legs = spec.course
        self._mixtures: list[Mixture] = []
        for number, leg in enumerate(self._legs):
            length = leg.training.sequence_length
            sequences = {name: tokens[name] // length for name in sorted(tokens)}
            made = pools(sequences, domains, leg.weights)
            self._mixtures.append(Mixture(made, leg.training.seed, (number,) if number else ()))

    def leg(self, step: int) -> Leg:
        """The one that `step` (from 1) belongs to."""
        return self._legs[self._number(step)]

    def rows(self, step: int, rank: int, world: int, skips: Skips = ()) -> Rows:
        """The sequences of `rank` of `world` at `step`."""
        number = self._number(step)
        leg, size = self._legs[number], self._legs[number].training.batch_size
        batch = step - 1 - leg.first + _shift(leg, step, skips)
        return self._mixtures[number].rows((batch * world + rank) * size, size)

    def tokens(self, world: int, skips: Skips = ()) -> dict[str, int]:
        """How many tokens of each dataset a finished run of `world` ranks has learned from."""
        found: dict[str, int] = {}
        for leg, mixture in zip(self._legs, self._mixtures, strict=True):
            at_once, length = leg.training.batch_size * world, leg.training.sequence_length
            breaks = sorted({leg.first, leg.last, *(after for after, _ in skips if leg.first < after < leg.last)})
            for begin, end in pairwise(breaks):
                batch = begin - leg.first + _shift(leg, begin + 1, skips)
                for name, count in mixture.counts(batch * at_once, (end - begin) * at_once).items():
                    found[name] = found.get(name, 0) + count * length
        return found

    def _number(self, step: int) -> int:
        return next(number for number, leg in enumerate(self._legs) if step <= leg.last)


def _shift(leg: Leg, step: int, skips: Skips) -> int:
    """How many of the leg's batches were skipped before `step`."""
    skipped = ((max(after, leg.first), min(until, leg.last)) for after, until in skips if after < step)
    return sum(max(0, until - after) for after, until in skipped)
