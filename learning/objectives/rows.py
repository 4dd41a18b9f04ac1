"""Samples of tokens as rows of a batch: packed with samples apart, or one in each row."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trust.errors import Invalid


@dataclass(frozen=True)
class Sample:
    """Token ids, and for each whether it counts: it is the model's to say. The first of a sample never counts."""

    ids: tuple[int, ...]
    counted: tuple[bool, ...]


@dataclass(frozen=True)
class Rows:
    """`ids` and `places` int64 [batch, length], `counted` bool [batch, length].

    `places` are the positions in each sample: where they begin anew, `transformers` lets no token see the sample before.
    """

    ids: Tensor
    places: Tensor
    counted: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor) -> Rows:
        """These of the rows, int64 [n]."""
        return Rows(self.ids[rows], self.places[rows], self.counted[rows])

    def to(self, device: torch.device) -> Rows:
        return Rows(self.ids.to(device), self.places.to(device), self.counted.to(device))


def shortened(sample: Sample, length: int) -> Sample | None:
    """Its first `length` tokens; None where nothing counts among them."""
    counted = sample.counted[:length]
    return Sample(sample.ids[:length], counted) if any(counted[1:]) else None


def pack_apart(samples: Iterable[Sample], length: int, filler: int) -> Rows:
    """Whole samples in rows of `length` tokens, as few as best-fit-decreasing finds (Ding et al., arXiv:2404.10830).

    A sample that is longer is cut to its first `length` tokens; one in which nothing counts is left out, so there may be no
    row at all. What remains of a row is `filler`, apart from all samples. The same samples give the same rows.
    """
    if length < 2:
        raise Invalid(f"A row of {length} tokens has nothing to predict.", "Use at least 2.", field="length")
    cut = (shortened(sample, length) for sample in samples)
    fit = sorted((sample for sample in cut if sample is not None), key=lambda sample: -len(sample.ids))
    rows: list[list[Sample]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for sample in fit:
        at = bisect_left(room, (len(sample.ids), 0))
        left, row = room.pop(at) if at < len(room) else (length, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(sample)
        insort(room, (left - len(sample.ids), row))
    return _laid(rows, length, filler)


def one_each(samples: Sequence[Sample], filler: int) -> Rows:
    """A row for each sample, filled up behind it to the length of the longest: nothing sees what stands behind it.

    Raises `Invalid` where a sample has nothing that counts.
    """
    if not samples or not all(any(sample.counted[1:]) for sample in samples):
        raise Invalid("A sample has no token for the model to say.", "Give every sample an answer.")
    return _laid([[sample] for sample in samples], max(len(sample.ids) for sample in samples), filler)


def _laid(rows: Sequence[Sequence[Sample]], length: int, filler: int) -> Rows:
    ids = torch.full((len(rows), length), filler)
    places = torch.zeros_like(ids)
    counted = torch.zeros_like(ids, dtype=torch.bool)
    for row, samples in enumerate(rows):
        at = 0
        for sample in samples:
            end = at + len(sample.ids)
            ids[row, at:end] = torch.tensor(sample.ids)
            places[row, at:end] = torch.arange(end - at)
            counted[row, at + 1 : end] = torch.tensor(sample.counted[1:], dtype=torch.bool)
            at = end
        places[row, at:] = torch.arange(length - at)
    return Rows(ids, places, counted)
