"""What may train in a campaign, beside what: a contradiction is refused in one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protos.documents.campaigns import CampaignSpec, part_of
from trust.errors import Invalid

TRAINING = {"steps": 1, "batch_size": 1, "sequence_length": 16, "learning_rate": 0.1}
SPEC = {"name": "rounds", "base_model": "tiny-1", "rounds": 1, "minimum_members": 3, "training": TRAINING}
DORA = {"adapter": {"method": "dora"}}
LOCAL = {"guarantee": "local", "clip": 1, "noise": 1, "delta": 1e-6, "maximum_epsilon": 1e5}


def read(**more: Any) -> CampaignSpec:
    return CampaignSpec.read({**SPEC, **more})


def test_a_spec_of_before_trains_lora() -> None:
    assert read(adapter={"rank": 4, "alpha": 8}).trained()["magnitudes"] is False


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
    assert read(**DORA, **more).trained()["magnitudes"] is True


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


OWN = {"trainable": "experts", "experts": {"own": {"law": [2, 0], "medicine": [1], "code": [1]}}}
COMMON = {"trainable": "experts", "experts": {"common": [1, 0, 1], "router": True}}
FULL = {"trainable": "full"}


def test_a_spec_says_what_trains_at_whose_site() -> None:
    assert read(**FULL).trained("law") == {"part": "full"}
    assert read(**COMMON).trained("law") == {"part": "experts", "experts": (0, 1), "router": True}
    own = read(**OWN)
    assert [own.trained(each)["experts"] for each in ("law", "code", None)] == [(0, 2), (1,), (0, 1, 2)]
    assert own.trained("stranger")["experts"] == ()
    assert [each.part for each in (read(), read(**FULL), read(**COMMON), own)] == [
        "LoRA of rank 16 on q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
        "all weights",
        "experts 0, 1 at every site, with their rows of the routers",
        "expert 1 at code's; experts 0, 2 at law's; expert 1 at medicine's",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (json.dumps({**SPEC, "trainable": "full"}), "all weights"),
        (json.dumps({**SPEC, "trainable": "heads"}), None),
        ("", None),
        ("[" * 100_000, None),
    ],
    ids=["known", "of another version", "nothing", "nested beyond measure"],
)
def test_what_a_hub_says_is_a_spec_says_what_trains_or_nothing(text: str, part: str | None) -> None:
    assert part_of(text) == part


@pytest.mark.parametrize(
    "more",
    [
        {"strategy": "diloco", "server": {"rate": 0.7}},
        {"averaging": "multi-krum", "bad_updates": 0},
        {"clip_norm": 1.0, "masks": {"colluding": 0}},
        {"privacy": {**LOCAL, "guarantee": "central"}},
        {"transfer": {"how": "top-k", "feedback": True}},
        {"training": {**TRAINING, "proximal": 0.1}},
    ],
)
def test_whole_weights_and_common_experts_go_with_what_takes_updates_that_are_alike(more: dict[str, Any]) -> None:
    for shape in (FULL, COMMON):
        assert read(**shape, **more)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"trainable": "experts"}, "go together"),
        ({**FULL, "experts": {"common": [0]}}, "go together"),
        ({"trainable": "experts", "experts": {"router": True}}, "one of the two"),
        ({"trainable": "experts", "experts": {"common": [0], "own": {"law": [1]}}}, "one of the two"),
        ({"trainable": "experts", "experts": {"common": []}}, "must not be empty"),
        ({"trainable": "experts", "experts": {"common": [-1]}}, "experts"),
        ({"trainable": "all"}, "trainable"),
        ({**FULL, "adapter": {"rank": 4}}, r"no use for \[adapter\]"),
        ({**FULL, "averaging": "products"}, "Products are those of an adapter's factors"),
        ({**FULL, "buffer": {"updates": 1}}, r"\[buffer\] needs averaging = "),
        ({**COMMON, "strategy": "scaffold"}, "take another strategy"),
        ({**OWN, "averaging": "median"}, 'leave averaging = "median" out'),
        ({**OWN, "maximum_share": 0.5}, "leave maximum_share out"),
        ({**OWN, "clip_norm": 1.0, "masks": {"colluding": 0}}, r"leave \[masks\] out"),
        ({**OWN, "privacy": {**LOCAL, "guarantee": "central"}}, "central"),
        ({**OWN, "minimum_members": 4}, "fewer than minimum_members"),
    ],
)
def test_contradictions_about_what_trains_are_refused_in_a_sentence(more: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        read(**more)
