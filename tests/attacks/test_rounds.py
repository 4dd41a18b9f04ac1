"""What one hostile site of five can do to a round's average."""

from __future__ import annotations

import math
import pickle

import pytest
import torch
from torch import Tensor

from learning.updates import save_tensors
from tests.hub.rounds.test_exchange import REFERENCE, Answerer, _in_a_server_task, answer, lead, moved  # noqa: F401

HONEST = {f"site-{number}": 0.1 + 0.01 * number for number in range(4)}
MEAN = sum(HONEST.values()) / len(HONEST)
NORM_RATIO = 10.0  # the default of learning.updates.check_update


def _distance(adapter: dict[str, Tensor], by: float) -> float:
    """L2 distance of an adapter from the reference moved by `by`."""
    expected = moved(by)
    return math.sqrt(sum(float((adapter[name] - expected[name]).double().square().sum()) for name in expected))


def _round(hostile: Answerer) -> tuple[dict[str, Tensor], str]:
    """The average, and why the hostile update was left out (empty when it counted)."""
    averaged = lead({**{name: answer(moved(by)) for name, by in HONEST.items()}, "hostile": hostile})
    reasons = {part.member: part.excluded for part in averaged.contributions}
    return averaged.adapter, reasons["hostile"]


REFUSED: dict[str, Answerer] = {
    "not a number": answer({**moved(0.1), "a": torch.full((2, 3), torch.nan)}),
    "one infinity": answer({**moved(0.1), "b": torch.tensor([0.0, 0, 0, math.inf])}),
    "a thousandfold": answer({name: 1000 * tensor + 1000 for name, tensor in moved(0.1).items()}),
    "another shape": answer({**moved(0.1), "a": torch.ones(6)}),
    "another dtype": answer({**moved(0.1), "a": torch.ones(2, 3, dtype=torch.float64)}),
    "a tensor more": answer({**moved(0.1), "c": torch.ones(1)}),
    "a tensor less": answer({"a": torch.ones(2, 3)}),
    "a pickle": answer(pickle.dumps(moved(0.1))),
    "an earlier round": answer(moved(0.1), round=1),
    "another campaign": answer(moved(0.1), campaign="campaign-b"),
    "other bytes than named": answer(moved(0.1), update="sha256:" + "0" * 64),
    "a header of 2^63 bytes": answer(b"\xff" * 7 + b"\x7f" + save_tensors(REFERENCE)[8:]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_attack_17_an_unfit_update_changes_nothing(kind: str) -> None:
    """17: values that are not finite, blown up, of other shapes, dtypes, names, rounds or bytes: left out with the reason,
    and the average is exactly that of the honest sites."""
    adapter, reason = _round(REFUSED[kind])
    assert reason
    assert _distance(adapter, MEAN) < 1e-6


@pytest.mark.parametrize("by", [-0.1, -1.0, 5.0, -7.0])
def test_attack_17_a_fit_update_pulls_no_further_than_its_share_of_the_bound(by: float) -> None:
    """17: a sign flip or a large but bounded step counts with its share, a fifth: the average moves by no more than a fifth
    of the bound on the norm plus the honest sites' own step."""
    adapter, reason = _round(answer(moved(by)))
    assert reason == ""
    bound = NORM_RATIO * math.sqrt(sum(float(tensor.square().sum()) for tensor in REFERENCE.values()))
    step = MEAN * math.sqrt(sum(tensor.numel() for tensor in REFERENCE.values()))
    assert _distance(adapter, MEAN) <= (bound + step) / (len(HONEST) + 1)


def test_attack_17_claiming_many_examples_buys_no_weight_by_default() -> None:
    """17: members weigh alike unless the campaign says otherwise, whatever number of examples one claims."""
    adapter, reason = _round(answer(moved(0.6), examples=1 << 39))
    assert reason == ""
    assert _distance(adapter, (4 * MEAN + 0.6) / 5) < 1e-5
