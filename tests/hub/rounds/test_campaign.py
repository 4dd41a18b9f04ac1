"""Whole campaigns over Flower, with parties that die and one that lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contributors.client import Coalition
from protos.documents.campaigns import CampaignSpec

if TYPE_CHECKING:
    from tests.hub.rounds.conftest import World

pytestmark = pytest.mark.system


def test_a_campaign_survives_its_superlink_and_leaves_out_a_poisoned_update(world: World, spec: CampaignSpec) -> None:
    for name in ("medicine", "law", "poison"):
        world.member(name)
    campaign = world.open_campaign(spec.model_copy(update={"minimum_members": 3}))
    world.site("medicine")
    world.site("law")
    world.hostile_site("poison", campaign)
    world.wait(campaign, lambda found: len(found.rounds) >= 1)
    world.kill("hub.rounds.superlink_process")
    world.wait(campaign, lambda found: found.state == "finished")
    with Coalition(world.homes["core"]) as core:
        found, models = core.campaign(campaign), {model.id: model for model in core.models()}
    assert [(each.number, each.model) for each in found.rounds] == [(1, "tiny-1.1"), (2, "tiny-1.2"), (3, "tiny-1.3")]
    assert [models[f"tiny-1.{n}"].parent for n in (1, 2, 3)] == ["tiny-1", "tiny-1.1", "tiny-1.2"]
    assert len({model.files[-1].digest for model in models.values()}) > 1
    for each in found.rounds:
        parts = {part.member: part for part in each.participants}
        assert "NaN" in parts["poison"].excluded
        assert parts["poison"].weight == 0
        for member in ("medicine", "law"):
            assert not parts[member].excluded
            assert parts[member].weight == pytest.approx(0.5)
            assert parts[member].loss_last < parts[member].loss_first
