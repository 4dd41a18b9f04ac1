"""SCAFFOLD in rounds: what the hub computes from updates alone is what the sites' own control variates are together."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import Tensor

from contributors.site.clientapp import _reply, honest_work
from contributors.site.consent import change_agreements, with_agreement
from contributors.site.datasets import Declarations, Declared, write_declarations
from contributors.site.policy import update_policy
from hub.rounds.merging import Merger
from hub.rounds.plan import Past, Plan, Site, past_file, read_result, round_directory, update_file, write_document
from hub.rounds.serverapp import Voice, lead_round
from hub.rounds.steering import Steering, led
from learning.architectures import build_model
from learning.export import save_model
from learning.tokenizer import train_tokenizer
from learning.updates import load_tensors
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Adapter, LocalTraining
from protos.documents.models import Contribution
from tests.hub.rounds.postbox import Answerer, Postbox
from tests.shapes import llama
from trust.digests import digest_bytes
from trust.errors import Invalid

TEXTS = {"law": "Members sign what they send. ", "medicine": "The heart pumps blood in a steady rhythm. "}
TRAINING = LocalTraining(steps=3, batch_size=1, sequence_length=16, learning_rate=0.5)
GIVEN: dict[str, Any] = {
    "name": "rounds",
    "base_model": "tiny-1",
    "rounds": 9,
    "minimum_members": 2,
    "strategy": "scaffold",
    "adapter": Adapter(rank=2, alpha=4, targets=("q_proj", "v_proj")),
    "training": TRAINING,
}
SPEC = CampaignSpec.read(GIVEN)
A, B = "x.lora_A.weight", "x.lora_B.weight"


@pytest.fixture(autouse=True)
def _in_a_server_task() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def _site(home: Path, text: str) -> Answerer:
    """A member's real site, but for Flower: its home, its text, and what its training process does with a task."""
    data = home / "private"
    data.mkdir(parents=True)
    (data / "notes.txt").write_text(text * 40)
    update_policy(home, data, "all")
    file = digest_bytes((data / "notes.txt").read_bytes())
    one = {"id": f"data-{home.name}", "category": "private", "jurisdiction": ("world",), "files": (file,)}
    write_declarations(home, Declarations(member=home.name, hub="test-hub", datasets=(Declared.read(one),)))
    change_agreements(home, lambda known: with_agreement(known, "campaign-a", SPEC))
    work = honest_work(home)

    def at(message: Message) -> RecordDict:
        return _reply(message, work).content

    return at


def _laid_out(directory: Path) -> Plan:
    tokenizer = train_tokenizer(iter(TEXTS.values()), 300)
    save_model(build_model(llama(len(tokenizer), 16, 32, 1, 2, 2, 32), seed=1), tokenizer, directory / "parent")
    sites = tuple(Site(member=m, key=digest_bytes(m.encode()), datasets=(f"data-{m}",)) for m in TEXTS)
    plan = Plan(campaign="campaign-a", spec=SPEC, first_round=1, sites=sites, superlink="", authority="", secret="")
    write_document(directory / "plan.json", plan)
    return plan


def _own(home: Path) -> dict[str, Tensor]:
    """What a site keeps: after a round that counted, the newest."""
    newest = max((home / "site" / "controls" / "campaign-a").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return load_tensors(newest.read_bytes())


def test_hub_and_sites_speak_of_the_same_control_variates(tmp_path: Path) -> None:
    """Round after round, with nothing but updates on the way back; a server app that begins anew goes on with the same."""
    plan = _laid_out(tmp_path)
    grid = Postbox({member: _site(tmp_path / member, text) for member, text in TEXTS.items()})
    steering, merger = Steering(TRAINING), Merger(SPEC)
    for number in (1, 2):
        lead_round(tmp_path, plan, number, grid, Voice(io.BytesIO()), merger, steering=steering)
        result = read_result(tmp_path, number)
        assert result is not None
        assert [(part.member, part.excluded) for part in result.contributions] == [("law", ""), ("medicine", "")]
        assert {entry.path for entry in result.parent} == {path.name for path in (tmp_path / "parent").iterdir()}
        _, common = steering.control(TEXTS, {})
        law, medicine = (_own(tmp_path / member) for member in TEXTS)
        for name, tensor in common.items():
            torch.testing.assert_close(tensor, (law[name] + medicine[name]) / 2, rtol=1e-4, atol=1e-6)
            assert bool(tensor.any())
        update_file(tmp_path, number).parent.mkdir(exist_ok=True)
        shutil.copy(round_directory(tmp_path, number) / "adapter.safetensors", update_file(tmp_path, number))
        write_document(past_file(tmp_path, number), Past(contributions=result.contributions))
    again = Steering(TRAINING)
    again.look_back(tmp_path, 3)
    assert again.control(TEXTS, {})[0] == steering.control(TEXTS, {})[0]
    torch.testing.assert_close(again.control(TEXTS, {})[1], common, rtol=0, atol=0)
    for path in (tmp_path / "law" / "site" / "controls" / "campaign-a").iterdir():
        path.unlink()
    lead_round(tmp_path, plan, 3, grid, Voice(io.BytesIO()), merger, steering=steering)
    result = read_result(tmp_path, 3)
    assert result is not None
    assert "lost its control variate" in result.contributions[0].excluded


def _part(member: str, weight: float = 1.0) -> Contribution:
    return Contribution(
        member=member,
        examples=1,
        weight=weight,
        loss_first=1,
        loss_last=1,
        update_norm=1,
        update=digest_bytes(member.encode()) if weight else None,
    )


def _averaged(by: float) -> dict[str, Tensor]:
    return {A: torch.ones(2, 3), B: torch.full((4, 2), by)}


def test_who_does_not_count_leaves_its_part_as_it_is() -> None:
    steering = Steering(TRAINING)
    steering.take([_part("law"), _part("medicine", 0.0)], _averaged(-3.0))
    control, common = steering.control(["law", "medicine"], _averaged(0))
    assert [each.member for each in control.counted] == ["law"]
    torch.testing.assert_close(common, {B: torch.full((4, 2), 3.0 / (3 * 0.5) / 2)})  # half of law's, and nothing


def test_what_a_site_says_of_a_counts_for_nothing() -> None:
    """No site trains it."""
    reference = {A: torch.zeros(2, 3), B: torch.zeros(4, 2)}
    adapter = led(Steering(TRAINING), [_part("law")], _averaged(2.0), reference)
    assert torch.equal(adapter[A], reference[A])
    assert torch.equal(adapter[B], _averaged(2.0)[B])


def test_where_the_members_change_all_begin_anew() -> None:
    steering = Steering(TRAINING)
    steering.take([_part("law"), _part("medicine")], _averaged(-3.0))
    assert bool(steering.control(["law", "medicine"], _averaged(0))[1][B].any())
    control, common = steering.control(["law", "medicine", "trade"], _averaged(0))
    assert control.counted == ()
    assert not bool(common[B].any())


@pytest.mark.parametrize(
    "given",
    [
        {"averaging": "products"},
        {"weighting": "examples"},
        {"maximum_share": 0.5},
        {"clip_norm": 1.0},
        {"transfer": {"how": "int8"}},
        {"training": TRAINING.model_copy(update={"proximal": 0.1})},
        {"privacy": json.loads('{"guarantee":"local","clip":1,"noise":1,"delta":1e-6,"maximum_epsilon":1000}')},
        {"server": {"rate": 1.0}},
    ],
)
def test_what_would_hide_the_gradients_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="Scaffold"):
        CampaignSpec.read({**GIVEN, **given})
