"""The trace against the same pass made for real, and against counting by hand."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

from learning.architectures import build_model
from learning.planning.tracing import _Meter, forward_flops, held
from learning.pretraining import block_loss
from tests.learning.test_architectures import FAMILIES
from tests.shapes import llama

SHAPE = llama(512, 64, 128, 6, 2, 2, 64)


@pytest.mark.parametrize(("recompute", "separate"), [(False, False), (True, False), (False, True)])
def test_a_trace_holds_what_the_real_pass_holds(recompute: bool, separate: bool) -> None:
    model = build_model(SHAPE, seed=0).train()
    if recompute:
        model.activation_checkpointing_enable()
    blocks = torch.zeros(4, 64, dtype=torch.long)
    gc.collect()
    with _Meter([*model.parameters(), *model.buffers(), blocks]) as meter:
        loss = block_loss(model, blocks, separate=separate)
        kept = meter.live
        loss.backward()
    traced = held(SHAPE, 4, 64, "fp32", recompute, separate=separate)
    assert traced.kept == pytest.approx(kept, rel=0.1)
    assert sum(traced.fullest(1.0, lambda _: 0)) == pytest.approx(meter.peak, rel=0.1)


def test_experts_on_processors_hold_empty_places_too() -> None:
    """Of 16 rows each on the average, which are rounded up to eights."""
    family = next(f for f in FAMILIES if f.family == "olmoe")
    values = family.model_copy(update={"experts": 16, "experts_per_token": 4, "intermediate_size": 256}).hugging_face()
    model = build_model(values, seed=0).to(torch.bfloat16).train()
    blocks = torch.randint(0, 512, (2, 32), generator=torch.Generator().manual_seed(0))
    with _Meter([*model.parameters(), *model.buffers(), blocks]) as meter:
        loss = block_loss(model, blocks)
        kept = meter.live
        loss.backward()
    own, group = (held(values, 2, 32, "bf16", False, segments=segments) for segments in (True, False))
    assert own.kept == pytest.approx(kept, rel=0.05)
    assert sum(own.fullest(1.0, lambda _: 0)) == pytest.approx(meter.peak, rel=0.1)
    assert group.kept < 0.9 * kept


def test_every_gradient_is_finished_once() -> None:
    course = held(SHAPE, 1, 64, "bf16", False).course
    weights = sum(parameter.numel() for parameter in build_model(SHAPE, 0).parameters())
    assert [finished for _, finished in course] == sorted(finished for _, finished in course)
    assert (course[0][1], course[-1][1]) == (0, 2 * weights)


def test_who_keeps_no_gradients_is_fullest_when_the_loss_is_known() -> None:
    traced = held(SHAPE, 4, 64, "bf16", False)
    activations, finished = traced.fullest(0.0, lambda _: 0)
    assert activations == max(live for live, _ in traced.course)
    assert finished < traced.course[-1][1] / 4


def test_recomputing_keeps_a_fraction() -> None:
    assert held(SHAPE, 4, 64, "bf16", True).kept < held(SHAPE, 4, 64, "bf16", False).kept / 4


def test_a_pass_grows_evenly_with_its_sequences() -> None:
    one, two, four = (held(SHAPE, count, 64, "bf16", False) for count in (1, 2, 4))
    assert one.of(4, two).kept == pytest.approx(four.kept, rel=0.02)
    assert sum(one.of(4, two).fullest(1.0, lambda _: 0)) == pytest.approx(sum(four.fullest(1.0, lambda _: 0)), rel=0.02)


def test_operations_are_those_counted_by_hand() -> None:
    hidden, inner, length, layers, vocabulary = 64, 128, 64, 6, 512
    linear = layers * (4 * hidden * hidden + 3 * hidden * inner) + hidden * vocabulary
    attention = layers * 2 * length * hidden  # scores and their use, whole
    assert forward_flops(SHAPE, length) == 2 * length * (linear + attention)


def test_of_the_experts_only_those_that_are_picked_count() -> None:
    few, many = (forward_flops(_mixture(experts).hugging_face(), 32) for experts in (4, 16))
    routing = 2 * 32 * 32 * (16 - 4) * 2  # the router itself is wider: two layers
    assert many - few == routing


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.family)
def test_every_family_can_be_traced(family: Any) -> None:
    values = family.hugging_face()
    assert forward_flops(values, 32) > 0
    assert 0 < held(values, 1, 32, "bf16", True).kept < held(values, 1, 32, "bf16", False).kept


def test_the_meter_lets_go_of_what_nobody_holds() -> None:
    with _Meter([]) as meter:
        first = torch.ones(1000)
        assert meter.live == 4000
        view = first[10:]  # shares the bytes
        assert meter.live == 4000
        del first, view
        assert meter.live == 0
        assert meter.peak == 4000


def _mixture(experts: int) -> Any:
    return next(f for f in FAMILIES if f.family == "mixtral").model_copy(update={"experts": experts})
