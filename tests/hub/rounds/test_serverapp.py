"""Rounds from the model before to the one after, as the server app leads them; only Flower's grid is another."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from hub.rounds.merging import Merger
from hub.rounds.plan import Plan, RoundResult, Site, read_result, round_directory, update_file, write_document
from hub.rounds.serverapp import Voice, _told, lead_round
from learning.architectures import build_model
from learning.export import load_model, save_model
from learning.tokenizer import train_tokenizer
from learning.trainable import trainable_of
from learning.updates import load_tensors
from protos.documents.architectures import Mixtral
from protos.documents.campaigns import CampaignSpec
from protos.documents.methods import Adapter, Buffer, LocalTraining, Quality, Server
from protos.documents.rounds import RoundTask
from tests.hub.rounds.postbox import DATASET, Answerer, Postbox, answer
from tests.shapes import llama
from trust.canonical import parse
from trust.digests import digest_bytes

SPEC = CampaignSpec(
    name="rounds",
    base_model="tiny-1",
    rounds=3,
    minimum_members=2,
    strategy="diloco",
    server=Server(rate=0.7),
    averaging="products",
    adapter=Adapter(rank=2, alpha=4, targets=("q_proj", "v_proj")),
    training=LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1),
)


@pytest.fixture(autouse=True)
def _in_a_server_task() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    tokenizer = train_tokenizer(iter(["Members sign what they send."]), 280)
    save_model(build_model(llama(280, 16, 32, 1, 2, 2, 32), seed=1), tokenizer, folder)
    return folder


def _site(parent: Path, by: float) -> Answerer:
    """A site whose update is the round's own start, moved."""

    def at(message: Message) -> RecordDict:
        document = message.content.config_records["task"]["document"]
        assert isinstance(document, bytes)
        task = RoundTask.read(parse(document))
        start, _ = trainable_of(task.spec.trained()).origin(load_model(parent)[0], task.seed)
        update = {name: tensor + by * task.round for name, tensor in start.items()}
        return answer(update, round=task.round)(message)

    return at


def _laid_out(directory: Path, parent: Path, first_round: int, spec: CampaignSpec = SPEC) -> Plan:
    shutil.copytree(parent, directory / "parent")
    sites = tuple(Site(member=m, key=digest_bytes(m.encode()), datasets=(DATASET,)) for m in ("law", "medicine"))
    plan = Plan(
        campaign="campaign-a",
        spec=spec,
        first_round=first_round,
        sites=sites,
        superlink="",
        authority="",
        secret="",
    )
    write_document(directory / "plan.json", plan)
    return plan


def _lead(directory: Path, plan: Plan, base: Path) -> None:
    """The rounds from the plan's first one to the last, by a server app that has just begun."""
    grid = Postbox({"law": _site(base, 0.005), "medicine": _site(base, -0.002)})
    merger = Merger(plan.spec)
    merger.look_back(directory, plan.first_round)
    for number in range(plan.first_round, plan.spec.rounds + 1):
        lead_round(directory, plan, number, grid, Voice(io.BytesIO()), merger)


def _voice() -> Voice:
    return Voice(io.BytesIO())


def _result(directory: Path, number: int) -> RoundResult:
    found = read_result(directory, number)
    assert found is not None
    return found


@pytest.mark.parametrize("more", [{}, {"trainable": "full", "averaging": "factors", "adapter": Adapter()}])
def test_a_campaign_that_was_interrupted_leads_to_the_same_model(
    more: dict[str, Any], parent: Path, tmp_path: Path
) -> None:
    spec = CampaignSpec.read({**dict(SPEC), **more})
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    _lead(whole, _laid_out(whole, parent, 1, spec), parent)
    first = round_directory(whole, 1)
    plan = _laid_out(resumed, first / "model", 2, spec)  # as the hub lays it out after the first round was recorded
    update_file(resumed, 1).parent.mkdir()
    shutil.copy(first / "adapter.safetensors", update_file(resumed, 1))
    _lead(resumed, plan, parent)
    assert _result(resumed, 3) == _result(whole, 3)
    models = [(round_directory(each, 3) / "model/model.safetensors").read_bytes() for each in (whole, resumed)]
    assert models[0] == models[1]


@pytest.mark.parametrize(
    ("more", "values"),
    [({}, 2 * 2 * (16 + 16)), ({"trainable": "full", "averaging": "factors", "adapter": Adapter()}, None)],
)
def test_a_reply_may_be_twice_an_update_however_large_the_model(
    more: dict[str, Any], values: int | None, parent: Path, tmp_path: Path
) -> None:
    plan = _laid_out(tmp_path, parent, 1, CampaignSpec.read({**dict(SPEC), **more}))
    grid = Postbox({"law": _site(parent, 0.005), "medicine": _site(parent, -0.002)})
    lead_round(tmp_path, plan, 1, grid, Voice(io.BytesIO()), Merger(plan.spec))
    all_of_it = sum(weight.numel() for weight in load_model(parent)[0].parameters())
    bound: Any = grid
    assert bound.most == 2 * 4 * (values or all_of_it) + (64 << 20)


def test_a_full_disk_is_said_in_one_sentence() -> None:
    full = Path("/dev/full")  # every write to it finds no room
    with pytest.raises(OSError, match="No space left") as failed:
        full.write_bytes(b"x")
    assert _told(failed.value).startswith("The hub's disk is full: make room there")


def test_a_rounds_result_says_who_counted_how_much_and_why(parent: Path, tmp_path: Path) -> None:
    plan = _laid_out(tmp_path, parent, 1)
    grid = Postbox({"law": _site(parent, 0.05), "medicine": _site(parent, float("nan"))})
    lead_round(tmp_path, plan, 1, grid, Voice(io.BytesIO()), Merger(SPEC))
    law, medicine = _result(tmp_path, 1).contributions
    assert (law.weight, law.why, law.excluded) == (1.0, "every member counts the same", "")
    assert medicine.weight == 0
    assert "NaN" in medicine.excluded
    after, _ = load_model(round_directory(tmp_path, 1) / "model")
    before, _ = load_model(parent)
    moved = [
        name
        for (name, one), (_, other) in zip(before.named_parameters(), after.named_parameters(), strict=True)
        if not torch.equal(one, other)
    ]
    assert {name.split(".")[-2] for name in moved} == {"q_proj", "v_proj"}


def test_an_update_that_comes_a_round_later_moves_the_model_that_is_there_then(parent: Path, tmp_path: Path) -> None:
    """With a buffer; the round's result says how late it is, and the model has moved by what the result's update says."""
    plan = _laid_out(tmp_path, parent, 1)
    spec = SPEC.model_copy(update={"buffer": Buffer(updates=1), "strategy": "fedavg", "server": None})
    plan, law, slow = plan.model_copy(update={"spec": spec}), _site(parent, 0.05), _site(parent, -0.02)
    grid = Postbox({"law": law, "medicine": lambda message: None})
    merger, voice = Merger(spec), Voice(io.BytesIO())
    afoot = lead_round(tmp_path, plan, 1, grid, voice, merger)
    assert list(afoot) == ["medicine"]
    grid.answerers |= {"law": lambda message: None, "medicine": slow}
    afoot = lead_round(tmp_path, plan, 2, grid, voice, merger, afoot)
    assert list(afoot) == ["law"]
    away, late = _result(tmp_path, 2).contributions
    assert (away.weight, away.late, late.late) == (0, 0, 1)
    assert late.weight == pytest.approx(2**-0.5)
    before, after = (load_model(round_directory(tmp_path, number) / "model")[0] for number in (1, 2))
    averaged = load_tensors((round_directory(tmp_path, 2) / "adapter.safetensors").read_bytes())
    for name, change in trainable_of(spec.trained()).change(averaged):
        torch.testing.assert_close(after.get_parameter(name), before.get_parameter(name) + change)


def test_each_members_own_experts_come_whole_into_the_next_model_and_nothing_else_moves(tmp_path: Path) -> None:
    """Over the wire, guards and merging: a member that also moved another's expert is left out, and that one stays."""
    parent = tmp_path / "base"
    tokenizer = train_tokenizer(iter(["Members sign what they send."]), 280)
    shape = {"hidden_size": 32, "heads": 2, "kv_heads": 2, "layers": 1, "context_length": 32, "intermediate_size": 16}
    routed = Mixtral.model_construct(
        family="mixtral", vocab_size=len(tokenizer), experts=4, experts_per_token=2, **shape
    )
    save_model(build_model(routed.hugging_face(), seed=1), tokenizer, parent)
    own = {"law": (1, 2), "medicine": (0,)}
    given = {"trainable": "experts", "experts": {"own": own}, "averaging": "factors", "adapter": Adapter()}
    spec = CampaignSpec.read({**dict(SPEC), **given, "strategy": "fedavg", "server": None})
    plan = _laid_out(tmp_path, parent, 1, spec)
    start, _ = trainable_of(spec.trained()).origin(load_model(parent)[0], 0)
    law = {name: torch.full(start[name].shape, 0.01) for name in start if name[-1] in "12"}
    medicine = {name: torch.full(start[name].shape, 0.02) for name in start}
    said = {"law": answer(law, round=1), "medicine": answer(medicine, round=1)}
    lead_round(tmp_path, plan, 1, Postbox(said), _voice(), Merger(spec))
    counted, left_out = _result(tmp_path, 1).contributions
    assert (counted.member, counted.weight, left_out.weight) == ("law", 1, 0)
    assert "unexpected tensor" in left_out.excluded
    before, after = (load_model(folder)[0] for folder in (parent, round_directory(tmp_path, 1) / "model"))
    for name, weight in after.named_parameters():
        expected = before.get_parameter(name).detach().clone()
        for number in (1, 2) if ".experts." in name else ():
            expected[number] += 0.01
        assert torch.equal(weight, expected), name


def test_updates_are_measured_on_the_text_that_the_campaign_holds_out(parent: Path, tmp_path: Path) -> None:
    """Who does not reach the floor does not count; who counts is told its quality too."""
    plan = _laid_out(tmp_path, parent, 1)
    spec = SPEC.model_copy(update={"quality": Quality(dataset="data-1", floor=0.9995, blocks=4)})
    (tmp_path / "held-out").mkdir()
    (tmp_path / "held-out" / "00000.txt").write_text("Members sign what they send. " * 40)
    grid = Postbox({"law": _site(parent, 0.001), "medicine": _site(parent, -0.9)})
    lead_round(tmp_path, plan.model_copy(update={"spec": spec}), 1, grid, Voice(io.BytesIO()), Merger(SPEC))
    law, medicine = _result(tmp_path, 1).contributions
    assert (law.weight, medicine.weight) == (1, 0)
    assert law.quality > 1
    assert medicine.quality == pytest.approx(0.998, abs=0.001)
    assert "below the floor of 0.9995" in medicine.excluded
