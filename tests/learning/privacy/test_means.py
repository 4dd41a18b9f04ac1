"""The mean with noise: nobody moves it by more than the noise was made for."""

from __future__ import annotations

import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from learning.privacy.means import PrivateMean
from learning.privacy.noise import gaussian, most_noise
from trust.errors import Invalid

CLIP, NOISE = 0.5, 1.5
SIZE = 40_000


def _start(size: int = SIZE) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {"A": torch.randn(size // 2, generator=generator), "B": torch.randn(2, size // 4, generator=generator)}


def _moved(start: dict[str, Tensor], by: float) -> dict[str, Tensor]:
    """`start`, moved by an L2 norm of `by`."""
    size = sum(tensor.numel() for tensor in start.values())
    return {name: tensor + by / math.sqrt(size) for name, tensor in start.items()}


def _away(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float((one[name].double() - other[name].double()).square().sum()) for name in one))


def _same(size: int) -> bytes:
    """The same bytes each time, so that two means differ by their updates alone: never do this outside a test."""
    return bytes(number * 37 % 256 for number in range(size))


def _mean(start: dict[str, Tensor], updates: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    mean = PrivateMean(start, CLIP, NOISE, _same)
    for update in updates:
        mean.add(update)
    return mean.result()


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_no_update_however_far_moves_the_sum_by_more_than_the_clip(one: float, other: float) -> None:
    start = _start(40)
    without, with_one = (_mean(start, [_moved(start, other), _moved(start, by)]) for by in (0.0, one))
    assert 2 * _away(without, with_one) <= CLIP * (1 + 1e-5)


def test_an_update_within_the_clip_stays_as_it_is() -> None:
    start = _start(40)
    moved = _away(_mean(start, [_moved(start, 0.1)]), _mean(start, [start]))
    assert moved == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("members", [1, 4])
def test_the_noise_of_a_mean_is_that_of_the_sum_over_the_members(members: int) -> None:
    start = _start()
    mean = PrivateMean(start, CLIP, NOISE, os.urandom)
    for _ in range(members):
        mean.add(start)
    away = _away(mean.result(), start)
    assert away == pytest.approx(NOISE * CLIP / members * math.sqrt(SIZE), rel=0.05)
    assert away < most_noise(SIZE, NOISE * CLIP / members)


def test_an_answer_is_given_once() -> None:
    """With fresh noise a second one would cost as much again; with the same it would tell what changed."""
    mean = PrivateMean(_start(40), CLIP, NOISE, os.urandom)
    with pytest.raises(Invalid, match="no update"):
        mean.result()
    mean.add(_start(40))
    mean.result()
    with pytest.raises(Invalid, match="no update"):
        mean.result()


def test_what_the_noise_does_not_hide_is_refused() -> None:
    start = _start(40)
    mean = PrivateMean(start, CLIP, NOISE, os.urandom)
    with pytest.raises(Invalid, match="weighs"):
        mean.add(start, 2)
    with pytest.raises(Invalid, match="NaN"):
        mean.add(start | {"A": start["A"] * math.nan})
    with pytest.raises(Invalid, match="lacks"):
        mean.add({"A": start["A"]})
    assert mean.count == 0
    for clip, noise in ((0, 1), (1, 0), (math.inf, 1)):
        with pytest.raises(Invalid, match="hide nothing"):
            PrivateMean(start, clip, noise, os.urandom)


def test_noise_is_gaussian_and_new_each_time() -> None:
    """Against the normal distribution by Kolmogorov and Smirnov; the bound fails once in 10^8 times."""
    size = 300_001  # not a whole number of chunks
    found = gaussian(size, 2.0, os.urandom)
    expected = torch.special.ndtr(found.sort().values / 2)
    steps = torch.arange(1, size + 1) / size
    assert float((steps - expected).abs().max()) < 3.1 / math.sqrt(size)
    assert float((found[1:] * found[:-1]).mean()) == pytest.approx(0, abs=6 * 4 / math.sqrt(size))
    assert not torch.equal(gaussian(9, 1, os.urandom), gaussian(9, 1, os.urandom))
    assert len(gaussian(0, 1, os.urandom)) == 0
