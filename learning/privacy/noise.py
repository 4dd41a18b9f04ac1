"""Gaussian noise from the operating system's random bytes: who watches a thousand values cannot tell the next."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Random = Callable[[int], bytes]
"""So many bytes that nobody can foresee: `os.urandom`. Never twice the same: the difference of two answers with the same noise
tells all that it hid."""

_CHUNK = 1 << 18  # values at a time: 8 MiB of random bytes
_BITS = 53


def gaussian(size: int, deviation: float, random: Random) -> Tensor:
    """`size` values from N(0, `deviation` squared), fp64 [size].

    Each is half the sum of four draws (Box and Muller, 1958), so that the last bits of a value do not say which one it was:
    Mironov, "On Significance of the Least Significant Bits for Differential Privacy", 2012; Holohan and Braghin,
    arXiv:2112.05307, as Opacus does in its secure mode.
    """
    found = torch.empty(size, dtype=torch.float64)
    for start in range(0, size, _CHUNK):
        part = found[start : start + _CHUNK]
        torch.mul(_four(len(part), random).sum(0), deviation / 2, out=part)
    return found


def most_noise(size: int, deviation: float) -> float:
    """The L2 norm that noise of `size` values exceeds less than once in 10^8 times (Laurent and Massart, 2000, lemma 1)."""
    tail = 8 * math.log(10)
    return deviation * math.sqrt(size + 2 * math.sqrt(size * tail) + 2 * tail)


def _four(size: int, random: Random) -> Tensor:
    """Independent standard Gaussians, [4, size]."""
    length, angle = _uniform(2 * size, random).view(2, size), _uniform(2 * size, random).view(2, size)
    radius, turn = length.log().mul_(-2).sqrt_(), angle.mul_(2 * math.pi)
    return torch.cat([radius * turn.cos(), radius * turn.sin()])


def _uniform(size: int, random: Random) -> Tensor:
    """Above 0, at most 1, in steps of 2^-53."""
    if not size:
        return torch.empty(0, dtype=torch.float64)
    words = torch.frombuffer(bytearray(random(8 * size)), dtype=torch.int64)
    return (words.bitwise_and_((1 << _BITS) - 1).double() + 1) * 2.0**-_BITS
