"""What may train in a campaign, beside what: a contradiction is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from protos.documents.campaigns import CampaignSpec
from trust.errors import Invalid

TRAINING = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
SPEC = {"name": "rounds", "base_model": "tiny-1", "rounds": 1, "minimum_members": 3, "training": TRAINING}
DORA = {"adapter": {"method": "dora"}}
LOCAL = {"guarantee": "local", "clip": 1, "noise": 1, "delta": 1e-6, "maximum_epsilon": 1e5}


def read(**more: Any) -> CampaignSpec:
    return CampaignSpec.read({**SPEC, **more})


def test_a_spec_of_before_trains_lora() -> None:
    assert read(adapter={"rank": 4, "alpha": 8}).trained["magnitudes"] is False


@pytest.mark.parametrize(
    "more",
    [
        {"averaging": "trimmed-mean"},
        {"clip_norm": 1.0, "masks": {"colluding": 0}},
        {"privacy": LOCAL},
        {"transfer": {"how": "int8"}},
    ],
)
def test_dora_goes_with_what_takes_an_update_as_it_is(more: dict[str, Any]) -> None:
    assert read(**DORA, **more).trained["magnitudes"] is True


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"averaging": "products"}, "no product"),
        ({"strategy": "diloco", "server": {"rate": 0.7}}, "Diloco reads from updates alone"),
        ({"strategy": "scaffold"}, "Scaffold reads from updates alone"),
    ],
)
def test_dora_is_refused_where_its_changes_cannot_be_told(more: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        read(**DORA, **more)
