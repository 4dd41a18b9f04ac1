"""Changes of an adapter as whole numbers modulo 2^32, which add up under masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learning.updates import check_names_and_shapes
from trust.errors import Invalid

Words = NDArray[np.uint32]
_Tensors = Mapping[str, Tensor]
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Ring:
    """Fixed point for sums of up to `members` values of at most `bound` each: no sum of theirs goes round.

    A step is `bound` * `members` / (2^31 - 1), and each value is off by half of it at the most: by 7e-10 for three members
    and a bound of 1.
    """

    bound: float
    members: int

    def __post_init__(self) -> None:
        if not (self.bound > 0 and math.isfinite(self.bound) and 0 < self.members <= _MOST):
            raise Invalid(f"Values of up to {self.bound} of {self.members} members have no fixed point.")

    @property
    def scale(self) -> float:
        """Whole numbers to 1."""
        return (_MOST // self.members) / self.bound

    def encode(self, update: _Tensors, reference: _Tensors) -> Words:
        """How far the update is from the `reference`, each value brought within the bound and rounded to the nearest: [size],
        tensors in the order of their names. Raises `Invalid` for other names or shapes, and for values that are not finite."""
        check_names_and_shapes(update, reference)
        parts = []
        for name in sorted(reference):
            change = update[name].double() - reference[name].double()
            if not bool(change.isfinite().all()):
                raise Invalid("The update holds NaN or infinity.", "Lower the learning rate.")
            whole = (change.clamp_(-self.bound, self.bound) * self.scale).round_()
            parts.append(whole.flatten().to(torch.int64).numpy().astype(np.uint32))  # wraps: -1 is 2^32 - 1
        return np.concatenate(parts)

    def mean(self, total: Words, count: int, reference: _Tensors) -> dict[str, Tensor]:
        """The mean change, fp64, of a sum of `count` encoded ones; sorted by name."""
        found, start = {}, 0
        for name in sorted(reference):
            size = reference[name].numel()
            whole = torch.from_numpy(total[start : start + size].view(np.int32).astype(np.float64))
            found[name] = (whole / (self.scale * count)).view(reference[name].shape)
            start += size
        return found


def size_of(reference: _Tensors) -> int:
    """Values of an adapter, which are as many words."""
    return sum(tensor.numel() for tensor in reference.values())


def add_stream(words: Words, stream: Iterable[bytes], *, taken_away: bool = False) -> None:
    """Add a stream of as many little-endian words, modulo 2^32, in place; or take it away again."""
    start = 0
    for chunk in stream:
        part = np.frombuffer(chunk, "<u4")
        here = words[start : start + len(part)]
        (np.subtract if taken_away else np.add)(here, part, out=here)
        start += len(part)
