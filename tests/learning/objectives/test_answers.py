"""The losses of what counts are those of the whole logits, and no array of the logits' size is ever made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaForCausalLM

from learning.adapters import AdapterShape, attach
from learning.objectives import answers
from learning.objectives.answers import answer_losses
from learning.objectives.rows import Sample, one_each, pack_apart
from learning.objectives.supervised import supervised_loss
from trust.errors import Invalid

IDS = torch.randint(1, 320, (3, 20), generator=torch.Generator().manual_seed(1)).tolist()
SAMPLES = [
    Sample(tuple(ids[: 8 + 4 * n]), tuple(place > 2 + n for place in range(8 + 4 * n))) for n, ids in enumerate(IDS)
]


def _gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("at_once", [3, 256])
def test_it_is_the_loss_of_transformers_with_its_gradient(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(answers, "AT_ONCE", at_once)
    rows = one_each(SAMPLES, 0)
    usual = model(input_ids=rows.ids, labels=rows.ids.where(rows.counted, -100)).loss
    usual.backward()
    expected = _gradients(model)
    model.zero_grad()
    ours = supervised_loss(model, rows)
    ours.backward()
    torch.testing.assert_close(ours, usual)
    torch.testing.assert_close(_gradients(model), expected)


def test_each_loss_stands_at_its_token(model: LlamaForCausalLM) -> None:
    rows = one_each(SAMPLES, 0)
    logits = model(input_ids=rows.ids).logits
    each = functional.cross_entropy(logits[:, :-1].flatten(0, 1), rows.ids[:, 1:].flatten(), reduction="none")
    expected = functional.pad(each.view(len(rows), -1), (1, 0)) * rows.counted
    torch.testing.assert_close(answer_losses(model, rows), expected)


def test_packed_samples_do_not_see_each_other(model: LlamaForCausalLM) -> None:
    packed, single = pack_apart(SAMPLES, 40, 0), one_each(SAMPLES, 0)
    assert len(packed) == 1
    torch.testing.assert_close(
        answer_losses(model, packed).sum(), answer_losses(model, single).sum(), rtol=1e-5, atol=1e-5
    )


def test_an_adapter_alone_learns(model: LlamaForCausalLM) -> None:
    adapted = attach(model, AdapterShape(2, 4), seed=0)
    supervised_loss(adapted, one_each(SAMPLES, 0)).backward()
    assert {name.split(".")[-3] for name in _gradients(adapted)} == {"lora_A", "lora_B"}


class _Largest(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        weights = func is torch.ops.aten.t.default
        if isinstance(found, torch.Tensor) and found.shape[-1:] == (320,) and not weights:
            self.rows = max(self.rows, found.numel() // 320)
        return found


def test_no_array_has_the_size_of_the_logits(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "AT_ONCE", 4)
    model.requires_grad_(False)
    adapted = attach(model, AdapterShape(2, 4), seed=0)
    with _Largest() as largest:
        supervised_loss(adapted, one_each(SAMPLES, 0)).backward()
    assert largest.rows == 4


def test_what_cannot_be_computed_is_named(model: LlamaForCausalLM) -> None:
    rows = one_each(SAMPLES, 0)
    with pytest.raises(Invalid, match="No token"):
        supervised_loss(model, type(rows)(rows.ids, rows.places, torch.zeros_like(rows.counted)))
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(Invalid, match="scaled or capped"):
        answer_losses(model, rows)
