"""What a run trains on: a function of spec, step and what was skipped; the total is that of the batches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from hub.training.feed import Feed, Skips
from protos.documents.runs import RunSpec
from tests.hub.training.test_scheduler import SPEC
from trust.errors import Invalid

TOKENS = {"data-1": 64 * 9 + 5, "data-2": 64 * 4, "data-3": 64 * 30}
DOMAINS = {"data-1": "law", "data-2": "code", "data-3": "law"}
STAGES = [
    {"name": "first", "steps": 20},
    {"name": "anneal", "steps": 6, "weights": {"code": 1.0}, "learning_rate": 0.001},
    {"name": "short", "steps": 4, "sequence_length": 32, "batch_size": 4},
]


def spec(**changes: Any) -> RunSpec:
    return RunSpec.read(SPEC.model_dump() | changes)


def batches(feed: Feed, skips: Skips = (), world: int = 2, steps: int = 30) -> list[list[tuple[str, int]]]:
    """Of every step, by all ranks."""
    return [
        [row for rank in range(world) for row in feed.rows(step, rank, world, skips)] for step in range(1, steps + 1)
    ]


MIXED = spec(data={"weights": {"law": 3.0, "code": 1.0}}, stages=STAGES)


def test_each_stage_has_its_own_mixture_and_lengths() -> None:
    found = batches(Feed(MIXED, TOKENS, DOMAINS))
    assert [len(batch) for batch in found] == [4] * 26 + [8] * 4
    code = [sum(DOMAINS[dataset] == "code" for dataset, _ in batch) for batch in found]
    assert sum(code[:20]) == pytest.approx(20, abs=1)
    assert code[20:26] == [4] * 6
    assert max(index for batch in found[26:] for dataset, index in batch if dataset == "data-2") > 4


@pytest.mark.parametrize("skips", [(), ((10, 13),), ((10, 13), (10, 12), (14, 18)), ((18, 23),)])
def test_the_tokens_of_each_dataset_are_those_of_the_batches(skips: Skips) -> None:
    feed = Feed(MIXED, TOKENS, DOMAINS)
    counted: Counter[str] = Counter()
    for step, batch in enumerate(batches(feed, skips), 1):
        counted.update(
            {d: n * feed.leg(step).training.sequence_length for d, n in Counter(d for d, _ in batch).items()}
        )
    assert feed.tokens(2, skips) == counted
    assert sum(counted.values()) == 26 * 4 * 64 + 4 * 8 * 32


def test_after_a_skip_training_goes_on_with_the_batches_behind_the_spike() -> None:
    feed = Feed(spec(), TOKENS, DOMAINS)
    straight = batches(feed, steps=30)
    once = batches(feed, ((10, 14),), steps=26)
    assert once == straight[:10] + straight[14:]
    twice = batches(feed, ((10, 14), (10, 12)), steps=24)
    assert twice == straight[:10] + straight[16:]


def test_a_skip_over_the_end_of_a_stage_skips_in_both() -> None:
    feed = Feed(MIXED, TOKENS, DOMAINS)
    straight, skipped = batches(feed), batches(feed, ((18, 23),))
    assert skipped[:18] == straight[:18]
    assert skipped[18] not in straight[18:20]
    assert skipped[20:23] == straight[23:26]


def test_other_ranks_share_the_same_sequences_as_long_as_the_batch_stays() -> None:
    one = spec(training=SPEC.training.model_dump() | {"batch_size": 4})
    assert batches(Feed(one, TOKENS, DOMAINS), world=1) == batches(Feed(spec(), TOKENS, DOMAINS), world=2)


def test_a_stage_without_data_is_refused() -> None:
    with pytest.raises(Invalid, match="of domain code hold less than one sequence"):
        Feed(MIXED, TOKENS | {"data-2": 63}, DOMAINS)
