"""Stages of a run: what they take over, and what is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from protos.documents.runs import RunSpec
from trust.errors import Invalid

SPEC: dict[str, Any] = {
    "name": "tiny",
    "architecture": {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 64,
        "layers": 1,
        "heads": 2,
        "kv_heads": 1,
        "context_length": 128,
    },
    "training": {
        "steps": 30,
        "batch_size": 4,
        "micro_batch": 2,
        "sequence_length": 64,
        "learning_rate": 0.01,
        "warmup_steps": 3,
    },
}


def stage(**values: Any) -> dict[str, Any]:
    return {"name": "one", "steps": 30, **values}


def read(*stages: dict[str, Any], **changes: Any) -> RunSpec:
    return RunSpec.read(SPEC | {"stages": stages} | changes)


def test_a_run_without_stages_is_one_leg() -> None:
    (leg,) = RunSpec.read(SPEC).course
    assert (leg.first, leg.last, leg.training, leg.weights) == (0, 30, RunSpec.read(SPEC).training, {})


def test_a_run_on_another_number_of_nodes_has_the_same_batches_in_passes_no_larger_than_before() -> None:
    spec = read(
        stage(steps=20),
        stage(name="two", steps=10, batch_size=6),
        placement={"nodes": 4, "ranks_per_node": 8},
        training=SPEC["training"] | {"micro_batch": 3, "batch_size": 3},
    )
    for nodes, batches, passes in ((2, [6, 12], [3, 6]), (3, [4, 8], [2, 4]), (12, [1, 2], [1, 2])):
        other = RunSpec.read(spec.on(nodes).model_dump(mode="json"))
        assert [leg.training.batch_size for leg in other.course] == batches
        assert [leg.training.at_once for leg in other.course] == passes
        assert other.tokens == spec.tokens
    assert spec.on(4) is spec


def test_a_batch_that_cannot_be_divided_is_refused_in_a_sentence() -> None:
    spec = read(placement={"nodes": 4, "ranks_per_node": 2})
    with pytest.raises(Invalid, match="A batch of 32 sequences cannot be divided among 6 ranks"):
        spec.on(3)


def test_a_stage_takes_over_what_it_does_not_say_but_the_warm_up() -> None:
    first, second = read(
        stage(steps=20, warmup_steps=5),
        stage(name="two", steps=10, sequence_length=128, batch_size=1, weights={"law": 2.0}),
        data={"weights": {"code": 1.0}},
    ).course
    assert (first.first, first.last, second.first, second.last) == (0, 20, 20, 30)
    assert (first.training.warmup_steps, first.training.at_once, first.weights) == (5, 2, {"code": 1.0})
    assert (second.training.warmup_steps, second.training.at_once, second.weights) == (0, 1, {"law": 2.0})
    assert (second.training.sequence_length, second.training.learning_rate) == (128, 0.01)


@pytest.mark.parametrize(
    ("stages", "changes", "words"),
    [
        ([stage(steps=29)], {}, "training.steps = 30, but the stages have 29 steps"),
        ([stage(steps=15), stage(steps=15)], {}, "Two stages have the same name"),
        ([stage(batch_size=3, micro_batch=2)], {}, "Stage one: micro_batch = 2 does not divide batch_size = 3"),
        ([stage(sequence_length=256)], {}, "A sequence_length of 256 exceeds architecture.context_length"),
        ([stage(steps=15), stage(name="two", steps=15, weights={"law": 1.0})], {}, "Some stages weigh domains"),
        ([stage(tempo=3)], {}, "stages.0.tempo"),
        ([stage(warmup_steps=31)], {}, "Stage one: 31 warm-up steps exceed steps = 30"),
        ([], {"training": SPEC["training"] | {"warmup_steps": 31}}, "training: 31 warm-up steps exceed steps = 30"),
        ([stage(weights={"law": 0})], {}, "stages.0.weights.law"),
        ([], {"data": {"weights": {"Law!": 1.0}}}, "data.weights"),
    ],
)
def test_what_cannot_be_is_one_sentence(stages: list[dict[str, Any]], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(*stages, **changes)
    assert words in refused.value.what
    assert "\n" not in refused.value.what
