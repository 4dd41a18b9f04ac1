"""Whole campaigns over Flower, with parties that die and one that lies."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from contributors.client import Coalition
from contributors.site.spending import read_spending
from learning.updates import load_tensors
from protos.coalition.v1 import models_pb2, rounds_pb2
from protos.documents.campaigns import CampaignSpec, Hold
from protos.documents.masking import Masks
from protos.documents.methods import Adapter, Buffer, LocalTraining, Rewards, Server
from protos.documents.privacy import Privacy
from protos.documents.runs import Stop
from protos.documents.submissions import Reward
from tests.hub.rounds.conftest import pids, until

if TYPE_CHECKING:
    from tests.hub.rounds.conftest import World


pytestmark = pytest.mark.system


def test_a_campaign_survives_its_superlink_and_leaves_out_a_poisoned_update(world: World, spec: CampaignSpec) -> None:
    for name in ("medicine", "law", "poison"):
        world.member(name)
    looking_back = {"strategy": "diloco", "server": Server(rate=0.7), "averaging": "products"}
    campaign = world.open_campaign(spec.model_copy(update={"minimum_members": 3, **looking_back}))
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
    weights = {f.digest for model in models.values() for f in model.files if f.path == "model.safetensors"}
    assert len(weights) == 4
    for each in found.rounds:
        parts = {part.member: part for part in each.participants}
        assert "NaN" in parts["poison"].excluded
        assert parts["poison"].weight == 0
        for member in ("medicine", "law"):
            assert not parts[member].excluded
            assert parts[member].weight == pytest.approx(0.5)
            assert parts[member].loss_last < parts[member].loss_first
    sum_under_masks(world, spec)


def sum_under_masks(world: World, spec: CampaignSpec) -> None:
    """Of how far all weights moved. Three sites run; the text of one changes after it joined, so that it drops out when its
    secrets are shared: the masks that the others have with it are opened, and the sum is of these two."""
    world.processes.pop("poison").kill()
    until(lambda: not pids(str(world.homes["poison"].directory), "contributors.site"), "the hostile SuperNode's end")
    world.declared["poison"] = "as the hostile site did"
    world.site("poison")
    masks = {"masks": Masks(colluding=0), "clip_norm": 1.0, "rounds": 2, "minimum_members": 3, "name": "masked"}
    whole = {"trainable": "full", "adapter": Adapter()}
    campaign = world.open_campaign(spec.model_copy(update=masks | whole))
    world.wait(campaign, lambda found: len(found.members) == 3)
    (world.homes["poison"].directory / "private" / "more.txt").write_text("of no dataset")
    world.wait(campaign, lambda found: found.state in ("finished", "failed"))
    found = world.campaign(campaign)
    assert (found.state, len(found.rounds)) == ("finished", 2), found.reason
    assert "learns the sum of those that are in it" in found.guarantee
    parts = {part.member: part for part in found.rounds[-1].participants}
    assert parts["poison"].excluded.startswith("it dropped out before its masked update")
    for member in ("medicine", "law"):
        assert (parts[member].why, parts[member].withheld) == ("one of 2 summed under masks", True)
        assert parts[member].weight == pytest.approx(0.5)
    with Coalition(world.homes["core"]) as core:
        said = [event.message for event in core.watch_campaign(campaign)]
        models = {model.id: model for model in core.models()}
        first, last = (embedding(core, models[name]) for name in ("tiny-1", found.rounds[-1].model))
    assert not torch.equal(first, last), "which an adapter never moves"
    assert "2 masked updates summed; the hub saw no single one" in said


def embedding(core: Coalition, model: models_pb2.Model) -> Tensor:
    (file,) = (file for file in model.files if file.path == "model.safetensors")
    return load_tensors(core.blob(file.digest))["model.embed_tokens.weight"]


def test_a_killed_hub_and_a_killed_supernode_cost_no_finished_round(world: World, spec: CampaignSpec) -> None:
    """With noise of the sites: what the rounds cost is on the ledger, and no site has noted less."""
    for name in ("medicine", "law"):
        world.member(name)
        world.site(name)
    slow = spec.training.model_copy(update={"steps": 120})
    privacy = Privacy(guarantee="local", clip=0.1, noise=0.02, delta=1e-6, maximum_epsilon=1e5)
    campaign = world.open_campaign(spec.model_copy(update={"training": slow, "privacy": privacy}))
    world.wait(campaign, lambda found: len(found.rounds) >= 1)
    first = world.campaign(campaign).rounds[0]
    world.processes["hub"].kill()
    world.processes["hub"].wait()
    world.serve()
    log = world.directory / "medicine.log"
    until(lambda: "round 3 of" in log.read_text(), "round 3 after the restart")
    world.kill("contributors.site.supernode", "medicine")
    world.wait(campaign, lambda found: found.state == "finished")
    with Coalition(world.homes["core"]) as core:
        said = [event.message for event in core.watch_campaign(campaign)]
    assert "medicine's site is back and gets its task again" in said
    found = world.campaign(campaign)
    assert found.rounds[0] == first
    assert [each.number for each in found.rounds] == [1, 2, 3]
    assert not any(part.excluded for each in found.rounds for part in each.participants)
    assert all(part.withheld and not part.loss_last for each in found.rounds for part in each.participants)
    assert not any("loss" in message and "withheld" not in message for message in said)
    assert [(spent.member, spent.rounds) for spent in found.spent] == [("law", 3), ("medicine", 3)]
    noted = {
        name: read_spending(world.homes[name].directory).of(campaign, 0.02).answers for name in ("medicine", "law")
    }
    assert noted["medicine"] >= 3
    assert noted["law"] >= 3
    assert not list((world.hub / "campaigns").iterdir())
    a_slow_sites_work_counts_in_a_later_round(world, spec)


def a_slow_sites_work_counts_in_a_later_round(world: World, spec: CampaignSpec) -> None:
    """With a buffer of one update the other site's rounds go on; both run already, and one stands still for a while."""
    (still,) = pids(str(world.homes["law"].directory), "contributors.site.clientapp")
    os.kill(still, signal.SIGSTOP)
    shape = {"name": "buffered", "rounds": 100, "averaging": "products", "buffer": Buffer(updates=1, most_late=100)}
    campaign = world.open_campaign(spec.model_copy(update=shape))
    world.wait(campaign, lambda found: len(found.rounds) >= 2)
    parts = [part for each in world.campaign(campaign).rounds for part in each.participants]
    assert {part.member for part in parts if part.weight} == {"medicine"}
    assert {part.excluded for part in parts if part.member == "law"} == {
        "its site is at work on round 1 still; its update counts when it comes"
    }
    os.kill(still, signal.SIGCONT)
    world.wait(campaign, lambda found: bool(of_law(found)))
    late = of_law(world.campaign(campaign))[0]
    assert late.late >= 2
    assert late.weight <= (1 + late.late) ** -0.5 + 1e-9
    assert f"{late.late} rounds late" in late.why
    with Coalition(world.homes["core"]) as core:
        stop = Stop(hub=core.identity.hub, signer=core.identity.id, target=campaign, why="enough")
        core.stop_campaign(core.sign(stop))
    until(lambda: not list((world.hub / "campaigns").iterdir()), "nothing held")


def of_law(found: rounds_pb2.Campaign) -> list[rounds_pb2.Participation]:
    """Law's updates that counted."""
    return [part for each in found.rounds for part in each.participants if part.member == "law" and part.weight]


@pytest.mark.parametrize("loudness", [20.0])
def test_a_campaign_is_paused_over_a_restart_of_the_hub_resumed_and_stopped_and_another_learns_from_rewards(
    world: World, spec: CampaignSpec
) -> None:
    """While it is paused no process leads it and a younger one takes its turn; afterwards it goes on behind its last round."""
    world.member("law")
    tasks = [json.dumps({"prompt": f"How many pages has contract {number}?"}) + "\n" for number in range(8)]
    (world.private_text("law") / "tasks.jsonl").write_text("".join(tasks))
    campaign = world.open_campaign(spec.model_copy(update={"rounds": 100, "minimum_members": 1}))
    world.site("law")
    world.wait(campaign, lambda found: len(found.rounds) >= 1)
    with Coalition(world.homes["core"]) as core:
        ours = {"hub": core.identity.hub, "signer": core.identity.id, "campaign": campaign}
        core.pause_campaign(core.sign(Hold.read({**ours, "turn": 1, "state": "paused", "why": "a look"})))
    world.processes["hub"].kill()
    world.processes["hub"].wait()
    world.serve()
    world.wait(campaign, lambda found: (found.state, found.reason) == ("paused", "a look"))
    steered = {"strategy": "scaffold", "training": spec.training.model_copy(update={"learning_rate": 0.5})}
    shape = {"name": "younger", "rounds": 2, "minimum_members": 1, **steered}
    younger = world.open_campaign(spec.model_copy(update=shape))
    world.wait(younger, lambda found: found.state == "finished")
    assert [part.excluded for each in world.campaign(younger).rounds for part in each.participants] == ["", ""]
    held = world.campaign(campaign)
    assert held.state == "paused"
    until(lambda: not pids(str(world.hub), "hub.rounds.serverapp"), "nobody to lead anything")
    with Coalition(world.homes["core"]) as core:
        core.resume_campaign(core.sign(Hold.read({**ours, "turn": 2, "state": "resumed", "why": "seen"})))
    world.wait(campaign, lambda found: len(found.rounds) > len(held.rounds))
    assert world.campaign(campaign).rounds[: len(held.rounds)] == held.rounds
    with Coalition(world.homes["core"]) as core:
        stop = Stop(hub=core.identity.hub, signer=core.identity.id, target=campaign, why="enough")
        core.stop_campaign(core.sign(stop))
        *_, last = core.watch_campaign(campaign)
    assert (last.phase, last.message) == ("stopped", "enough")
    found = world.campaign(campaign)
    assert (found.state, found.reason) == ("stopped", "enough")
    assert found.rounds
    learn_to_answer_with_a_vowel(world, spec)
    assert "the training process died" not in (world.directory / "law.log").read_text(), (
        "it stays warm over all of this"
    )
    until(lambda: not list((world.hub / "campaigns").iterdir()), "nothing held")


def learn_to_answer_with_a_vowel(world: World, spec: CampaignSpec) -> None:
    """A campaign of GRPO by a policy of its only member, whose site runs: the mean reward rises, within a round and over two."""
    written = {"format": "coalition-reward/v1", "name": "vowels", "description": "Answers hold a vowel."}
    rules = [{"name": "vowel", "check": {"how": "regex", "pattern": "[aeiou]"}}]
    with Coalition(world.homes["law"]) as law:
        policy = Reward.read({"hub": law.identity.hub, "signer": "law", "policy": {**written, "rules": rules}})
        digest = law.submit(law.sign(policy), {}, lambda count: None).payload
    learning = LocalTraining(steps=10, batch_size=16, sequence_length=64, learning_rate=0.02)
    rewards = Rewards(policies=(digest,), group=8, max_new_tokens=6, beta=0.01)
    shape = {"objective": "grpo", "rewards": rewards, "training": learning, "rounds": 2, "minimum_members": 1}
    campaign = world.open_campaign(spec.model_copy(update={"name": "with-vowels", **shape}))
    world.wait(campaign, lambda found: found.state in ("finished", "failed"))
    with Coalition(world.homes["core"]) as core:
        metrics = [metric for event in core.watch_campaign(campaign) for metric in event.metrics]
        rounds = core.campaign(campaign).rounds
        used = {(data.member, data.dataset) for data in core.lineage(rounds[-1].model).data}
    ((first,), (second,)) = ([part.rewarded for part in each.participants] for each in rounds)
    assert first.last > first.first + 0.2
    assert second.last > 0.8
    assert first.divergence > 0
    assert 1 <= second.length <= 6
    assert [(m.step, m.value) for m in metrics if m.name == "reward/law"] == [(1, first.last), (2, second.last)]
    assert used == {("law", world.declared["law"])}
