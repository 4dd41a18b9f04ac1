from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learning.compression import How, compress, expand
from learning.updates import load_tensors, save_tensors
from trust.errors import Invalid

KINDS: list[How] = ["fp32", "bf16", "int8", "top-k"]
SHAPES = st.lists(st.lists(st.integers(1, 6), max_size=3).map(tuple), min_size=1, max_size=3)


def _change(shapes: list[tuple[int, ...]], seed: int, scale: float = 1.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"t{n}": torch.randn(shape, generator=generator) * scale for n, shape in enumerate(shapes)}


@settings(max_examples=100, deadline=None)
@given(SHAPES, st.sampled_from(KINDS), st.integers(0, 999), st.sampled_from([1e-6, 1.0, 1e6]))
def test_what_comes_back_and_what_was_lost_are_the_change(shapes: Any, how: How, seed: int, scale: float) -> None:
    change = _change(shapes, seed, scale)
    packed = compress(change, how, keep=0.3)
    back = expand(packed.data, how, change)
    for name, tensor in change.items():
        torch.testing.assert_close(back[name] + packed.lost[name], tensor, rtol=1e-6, atol=1e-6 * scale)
        most = tensor.abs().amax() if tensor.numel() else torch.tensor(0.0)
        bound = {"fp32": 0.0, "bf16": float(most) / 256, "int8": float(most) / 253, "top-k": float(most)}[how]
        assert float(packed.lost[name].abs().amax()) <= bound
    assert compress(change, how, keep=0.3).data == packed.data


@pytest.mark.parametrize("how", KINDS)
def test_nothing_is_lost_for_good(how: How) -> None:
    """Over many rounds the sum of what is sent is the sum of the changes but for the last message's loss."""
    lost: dict[str, Tensor] | None = None
    total, sent = torch.zeros(8, 16), torch.zeros(8, 16)
    for round_number in range(60):
        change = {"t": _change([(8, 16)], round_number)["t0"] + 0.01}
        packed = compress(change, how, lost, keep=0.1)
        lost = packed.lost
        total += change["t"]
        sent += expand(packed.data, how, change)["t"]
    torch.testing.assert_close(sent + lost["t"], total, rtol=1e-4, atol=1e-3)  # type: ignore[index]


def test_bytes_are_as_few_as_promised() -> None:
    change = _change([(256, 512), (512, 64)], 0)
    values = sum(tensor.numel() for tensor in change.values())
    header = 400  # names, shapes and places
    most = {"fp32": 4 * values, "bf16": 2 * values, "int8": values + 4 * (256 + 512), "top-k": 8 * values // 100}
    sizes = {how: len(compress(change, how, keep=0.01).data) for how in KINDS}
    for how, size in sizes.items():
        assert most[how] - 16 <= size <= most[how] + header


def _with(data: bytes, **parts: Tensor) -> bytes:
    return save_tensors(load_tensors(data) | {name.replace("__", "."): tensor for name, tensor in parts.items()})


def test_bytes_from_a_peer_are_bounded_and_typed() -> None:
    change = _change([(4, 4)], 0)
    rows, kept = compress(change, "int8").data, compress(change, "top-k", keep=0.2).data  # three values
    places = torch.tensor([1, 2, 3], dtype=torch.int32)
    hostile: list[tuple[How, bytes]] = [
        ("fp32", pickle.dumps(change)),
        ("fp32", rows),
        ("bf16", compress(change, "fp32").data),
        ("int8", kept),
        ("int8", _with(rows, t0=torch.zeros(4, 5, dtype=torch.int8))),
        ("int8", _with(rows, t0__scale=torch.ones(5))),
        ("int8", _with(rows, t0__scale=torch.tensor([1, 1, 1, float("inf")]))),
        ("int8", _with(rows, t0__scale=torch.tensor([1, 1, 1, float("nan")]))),
        ("int8", _with(rows, t0__scale=-torch.ones(4))),
        ("top-k", _with(kept, t0__at=places - 2)),
        ("top-k", _with(kept, t0__at=places + 13)),
        ("top-k", _with(kept, t0__at=torch.tensor([1, 1, 2], dtype=torch.int32))),
        ("top-k", _with(kept, t0__at=places.flip(0))),
        ("top-k", _with(kept, t0__at=places.long())),
        ("top-k", _with(kept, t0=torch.ones(2))),
        ("top-k", _with(kept, t1=torch.ones(2))),
    ]
    for how, data in hostile:
        with pytest.raises(Invalid):
            expand(data, how, change)


def test_what_cannot_be_packed_is_named() -> None:
    change = _change([(2, 2)], 0)
    with pytest.raises(Invalid, match="t0 holds NaN"):
        compress({"t0": torch.full((2,), float("nan"))}, "int8")
    with pytest.raises(Invalid, match="cannot be kept"):
        compress(change, "top-k", keep=0)
    with pytest.raises(Invalid, match="lacks"):
        compress(change, "int8", lost={})
