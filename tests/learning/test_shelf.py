"""What is computed from tensors in files is what is computed in memory, and takes no memory that grows with the updates."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from learning.aggregation.low_rank import LowRankMean
from learning.aggregation.means import RunningMean
from learning.aggregation.robust import clipped, coordinate_median, krum, trimmed_mean
from learning.aggregation.stepping import Rule, ServerOptimizer
from learning.privacy.means import PrivateMean
from learning.shelf import IN_MEMORY, Shelf, map_tensors, write_tensors
from learning.updates import save_tensors
from trust.errors import Invalid

Update = dict[str, Tensor]
A, B = "x.lora_A.weight", "x.lora_B.weight"
Rule_ = Callable[[Sequence[Update], Shelf], Update]


def _mean(updates: Sequence[Update], shelf: Shelf) -> Update:
    mean = RunningMean(updates[0], shelf)
    for number, update in enumerate(updates):
        mean.add(update, 1 + number)
    return mean.result()


def _same(size: int) -> bytes:
    """The same bytes each time: never do this outside a test."""
    return bytes(number * 37 % 256 for number in range(size))


def _private(updates: Sequence[Update], shelf: Shelf) -> Update:
    mean = PrivateMean(updates[0], 1.0, 0.5, _same, shelf)
    for update in updates:
        mean.add(update)
    return mean.result()


def _exact(updates: Sequence[Update], shelf: Shelf) -> Update:
    mean = LowRankMean(shelf=shelf)
    for update in updates:
        mean.add(update, 2)
    return mean.result()


def _steps(rule: Rule) -> Rule_:
    def led(updates: Sequence[Update], shelf: Shelf) -> Update:
        optimizer = ServerOptimizer(rule, 0.7, shelf=shelf)
        return [optimizer.take(update) for update in updates][-1]

    return led


RULES: dict[str, Rule_] = {
    "mean": _mean,
    "noisy mean": _private,
    "exact mean": _exact,
    "trimmed mean": lambda updates, shelf: trimmed_mean(updates, (len(updates) - 1) // 3, shelf),
    "median": coordinate_median,
    "clipped": lambda updates, shelf: clipped(updates[-1], updates[0], 0.5, shelf)[0],
    "nesterov": _steps("nesterov"),
    "adam": _steps("adam"),
}


def _updates(count: int, seed: int, rank: int, wide: int) -> list[Update]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {B: torch.randn(3, rank, generator=generator), A: torch.randn(rank, wide, generator=generator)}
        for _ in range(count)
    ]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 6), seed=st.integers(0, 999), rank=st.integers(1, 3), wide=st.integers(0, 5))
def test_in_files_is_as_in_memory(tmp_path: Path, rule: str, count: int, seed: int, rank: int, wide: int) -> None:
    """To the last bit: a member can compute the recorded update again, however the hub keeps it."""
    updates = _updates(count, seed, rank, wide)
    written = tmp_path / "update"
    inside = RULES[rule](updates, IN_MEMORY)
    read = []
    for update in updates:
        write_tensors(update, written)
        read.append(map_tensors(written))
        written.unlink()
    outside = RULES[rule](read, Shelf(tmp_path))
    assert list(outside) == list(inside)
    for name, tensor in inside.items():
        assert torch.equal(outside[name], tensor)
    assert not list(tmp_path.iterdir())


def test_rules_that_compare_do_so_by_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the slices, the same is found."""
    updates = _updates(7, 1, 3, 5)
    whole = trimmed_mean(updates, 2), krum(updates, 2, 3)
    for size in (1, 7, 20, 30):
        monkeypatch.setattr("learning.aggregation.robust._SLICE", size)
        found = trimmed_mean(updates, 2), krum(updates, 2, 3)
        assert found[1] == whole[1]
        assert all(torch.equal(found[0][name], whole[0][name]) for name in whole[0])


def test_a_file_of_tensors_is_their_bytes(tmp_path: Path) -> None:
    update = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor([1.5], dtype=torch.bfloat16)}
    write_tensors(update, tmp_path / "update")
    assert (tmp_path / "update").read_bytes() == save_tensors(update)
    assert list(map_tensors(tmp_path / "update")) == ["a", "b"]


def test_a_disk_without_room_is_an_error_and_not_a_signal_later(tmp_path: Path) -> None:
    like = {"a": torch.zeros(()).expand(1 << 20)}
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Shelf(tmp_path).zeros(like)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, save_tensors({"a": torch.ones(3)})[:-1]])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "update").write_bytes(data)
    with pytest.raises(Invalid, match="cannot be read"):
        map_tensors(tmp_path / "update")
