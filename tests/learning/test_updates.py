from __future__ import annotations

import pickle

import pytest
import torch
from torch import Tensor

from learning.updates import check_update, load_tensors, save_tensors
from trust.errors import Invalid

REFERENCE = {"a": torch.ones(2, 3), "b": torch.zeros(4)}


def test_tensors_come_back_and_order_does_not_matter() -> None:
    data = save_tensors({"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.tensor([1.5], dtype=torch.bfloat16)})
    loaded = load_tensors(data)
    assert list(loaded) == ["a", "b"]
    assert loaded["a"].dtype == torch.bfloat16
    assert save_tensors(dict(reversed(loaded.items()))) == data


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, pickle.dumps({"a": 1}), save_tensors(REFERENCE)[:-1]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        load_tensors(data)


def test_a_fair_update_passes_with_its_norm() -> None:
    assert check_update(REFERENCE, REFERENCE) == 0
    assert check_update({"a": torch.ones(2, 3), "b": torch.full((4,), 2.0)}, REFERENCE) == pytest.approx(4)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"a": None}, "a"),
        ({"c": torch.zeros(1)}, "c"),
        ({"a": torch.ones(3, 2)}, "a"),
        ({"b": torch.zeros(4, dtype=torch.float16)}, "b"),
        ({"b": torch.tensor([0, 0, 0, float("nan")])}, "b"),
        ({"b": torch.tensor([0, 0, 0, float("-inf")])}, "b"),
        ({"b": torch.full((4,), 1e30)}, "norm"),
    ],
)
def test_the_reason_is_named(change: dict[str, Tensor | None], field: str) -> None:
    update = {name: tensor for name, tensor in {**REFERENCE, **change}.items() if tensor is not None}
    with pytest.raises(Invalid) as caught:
        check_update(update, REFERENCE)
    assert caught.value.field == field


def test_the_bound_is_relative_or_absolute() -> None:
    update = {**REFERENCE, "b": torch.full((4,), 2.0)}  # moves by 4; the reference's norm is 2.45
    check_update(update, REFERENCE, max_norm_ratio=1.7)
    for bound in ({"max_norm_ratio": 1.6}, {"max_norm": 3.9}):
        with pytest.raises(Invalid, match="over the bound"):
            check_update(update, REFERENCE, **bound)
