"""A site's local steps under SCAFFOLD, and what it keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from contributors.site.controls import Controls
from contributors.site.datasets import Declarations, write_declarations
from contributors.site.steering import steer
from learning.adaptation import minimise
from learning.adapters import AdapterShape, adapter_state, attach, factors_b
from learning.architectures import build_model
from learning.updates import save_tensors
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import LocalTraining
from protos.documents.rounds import CONTROL, Control, Counted, RoundTask
from tests.shapes import llama
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid

RATE = 0.5


def _stepped(own: float, common: float) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """(start, end, our control variate) of two steps; every element of the ones before is the same."""
    model = attach(build_model(llama(300, 16, 32, 1, 2, 2, 32), seed=1), AdapterShape(2, 4.0, ("q_proj",)), seed=0)
    start = adapter_state(model)

    def all_of(value: float) -> dict[str, Tensor]:
        return {name: torch.full_like(tensor, value) for name, tensor in factors_b(start).items()}

    steered = steer(model, start, {CONTROL: save_tensors(all_of(common))}, all_of(own))
    ids = torch.arange(16).reshape(1, 16)
    loss_of = lambda step: model(input_ids=ids, labels=ids).loss  # noqa: E731
    minimise(model, loss_of, 2, 32, RATE, 0, precision="fp32", corrected=steered.correct)
    end = adapter_state(model)
    return start, end, steered.after(start, end, 2, RATE)


def test_steps_are_plain_descent_and_led_from_our_gradients_to_all_members() -> None:
    start, plain, own = _stepped(0.0, 0.0)
    _, led, again = _stepped(0.25, 0.75)
    for name, tensor in start.items():
        if name.endswith(".lora_A.weight"):
            assert torch.equal(plain[name], tensor)  # one A for the whole campaign
        else:
            torch.testing.assert_close(own[name], (tensor - plain[name]) / (2 * RATE))
            torch.testing.assert_close(
                led[name] - plain[name], torch.full_like(tensor, -2 * RATE * 0.5), atol=1e-3, rtol=0
            )
            torch.testing.assert_close(again[name], own[name], atol=1e-3, rtol=0)  # the mean gradient, however led


def test_a_common_one_that_does_not_fit_is_refused() -> None:
    model = attach(build_model(llama(300, 16, 32, 1, 2, 2, 32), seed=1), AdapterShape(2, 4.0, ("q_proj",)), seed=0)
    start = adapter_state(model)
    fits = factors_b(start)
    for wrong in (
        {},
        {name: tensor[:1] for name, tensor in fits.items()},
        {name: tensor + float("nan") for name, tensor in fits.items()},
    ):
        with pytest.raises(Invalid):
            steer(model, start, {CONTROL: save_tensors(wrong)}, None)


def _task(number: int, counted: bytes | None = None, *, steered: bool = True) -> RoundTask:
    spec = CampaignSpec(
        name="rounds",
        base_model="tiny-1",
        rounds=9,
        minimum_members=1,
        strategy="scaffold",
        training=LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.5),
    )
    ours = (Counted(member="law", update=digest_bytes(counted)),) if counted else ()
    file = FileEntry(path=CONTROL, digest=digest_bytes(b"c"), size=1)
    control = Control(counted=(Counted(member="other", update=digest_bytes(b"z")), *ours)) if steered else None
    return RoundTask(campaign="campaign-a", round=number, spec=spec, files=(file,), control=control)


def _one(value: float) -> dict[str, Tensor]:
    return {"b": torch.tensor([value])}


def test_ours_is_the_one_of_the_update_that_counted_last(tmp_path: Path) -> None:
    """Not that of an answer which never came to a round; of each campaign two are kept, until it is over."""
    write_declarations(tmp_path, Declarations(member="law", hub="test-hub"))
    controls = Controls(tmp_path)
    assert controls.own(_task(1)) is None
    controls.keep(_task(1), b"first", _one(1.0))
    controls.keep(_task(2, b"first"), b"lost", _one(2.0))
    assert Controls(tmp_path).own(_task(2, b"first")) == _one(1.0)
    controls.keep(_task(2, b"first"), b"second", _one(3.0))
    assert controls.own(_task(3, b"second")) == _one(3.0)
    kept = list((tmp_path / "site" / "controls" / "campaign-a").iterdir())
    assert len(kept) == 2
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    with pytest.raises(Denied, match="lost its control variate"):
        controls.own(_task(3, b"lost"))
    with pytest.raises(Invalid, match="lacks the control variate"):
        controls.own(_task(3, steered=False))
    controls.keep_only(["campaign-b"])
    assert not kept[0].parent.exists()
