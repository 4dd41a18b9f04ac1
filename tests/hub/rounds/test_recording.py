"""From a server app's files to models in the ledger, whenever the hub gets to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from hub.models import registry
from hub.rounds import plan, projection, standings
from hub.rounds.recording import Recorder
from hub.rounds.service import _round
from learning.updates import save_tensors
from protos.documents.base import FileEntry
from protos.documents.campaigns import Campaign, CampaignSpec
from protos.documents.methods import LocalTraining, Server
from protos.documents.models import Contribution, DataUsed, Model
from protos.documents.rounds import Learned
from protos.documents.runs import Stop
from protos.documents.statements import HUB
from protos.documents.submissions import Dataset
from trust.digests import digest_bytes

ORIGIN = "test-hub"
PART = Contribution(
    member="law",
    examples=3,
    weight=1,
    loss_first=2,
    loss_last=1,
    update_norm=0.1,
    update=digest_bytes(b"sent"),
    why="3 examples",
    quality=1.5,
)


def weights(value: float) -> bytes:
    return save_tensors({"w": torch.full((2, 3), value)})


@pytest.fixture
def server() -> Server | None:
    """The server's step of the campaign's strategy; None for the plain mean."""
    return None


@pytest.fixture
def campaign(base: Any, server: Server | None) -> str:
    projection.register(base.journal)
    base.enrol("core", "core")
    data = weights(0)
    file = FileEntry(path="model.safetensors", digest=base.blobs.put(data), size=len(data))
    base.journal.sign_and_record(
        Model(
            hub=ORIGIN,
            signer=HUB,
            model="tiny-1",
            origin="run",
            source="run-0",
            payload=digest_bytes(b"run"),
            parameters=6,
            architecture="llama",
            tokens=100,
            files=(file,),
            code_version="test",
        )
    )
    training = LocalTraining(steps=1, batch_size=1, sequence_length=16, learning_rate=0.1)
    strategy: Literal["fedavg", "diloco"] = "diloco" if server else "fedavg"
    spec = CampaignSpec(
        name="rounds",
        base_model="tiny-1",
        rounds=5,
        minimum_members=1,
        training=training,
        strategy=strategy,
        server=server,
    )
    return str(base.record(Campaign(hub=ORIGIN, signer="core", spec=spec)).id)


@pytest.fixture
def recorder(base: Any) -> Recorder:
    return Recorder(base.database, base.blobs, base.journal)


def finish_round(
    directory: Path, campaign: str, number: int, *, name: str = "", data: tuple[Learned, ...] = ()
) -> None:
    """What the server app leaves after a round."""
    parent = plan.model_directory(directory, number - 1)
    folder = directory / "rounds" / (name or str(number))
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.safetensors").write_bytes(weights(number))
    (folder / "adapter.safetensors").write_bytes(weights(-number))
    result = plan.RoundResult(
        campaign=campaign,
        round=number,
        parent=plan.entries(parent, list(parent.iterdir())),
        contributions=(PART,),
        tokens=10,
        data=data,
    )
    plan.write_document(folder / "result.json", result)


def test_finished_rounds_become_models_once(base: Any, campaign: str, recorder: Recorder, tmp_path: Path) -> None:
    assert recorder.lay_out_parent(campaign, tmp_path) == 1
    finish_round(tmp_path, campaign, 1)
    finish_round(tmp_path, campaign, 2)
    finish_round(tmp_path, campaign, 3, name="3.partial")
    assert [model.model for model in recorder.record_finished(campaign, tmp_path)] == ["tiny-1.1", "tiny-1.2"]
    assert recorder.record_finished(campaign, tmp_path) == []
    with base.database.session() as session:
        second = registry.get(session, "tiny-1.2")
        assert (second.parent, second.round, second.tokens) == ("tiny-1.1", 2, 120)
        assert second.parameters == 6
        assert registry.contributions(second) == [PART]
        for row in standings.rounds(session, campaign):  # all of it is told
            (told,) = _round(row).participants
            assert not told.HasField("rewarded")
            fields = {field.name: getattr(told, field.name) for field in told.DESCRIPTOR.fields}
            assert PART.model_dump() == fields | {"rewarded": None}
    assert base.blobs.read(digest_bytes(weights(2))) == weights(2)
    assert base.blobs.read(digest_bytes(weights(-2))) == weights(-2)


def test_a_rounds_model_names_the_private_data_that_it_learned_from(
    base: Any, campaign: str, recorder: Recorder, tmp_path: Path
) -> None:
    base.enrol("law")
    letters = base.record(
        Dataset.read(
            {
                "hub": ORIGIN,
                "signer": "law",
                "name": "letters",
                "domain": "law",
                "licence": "CC-BY-4.0",
                "provenance": "written for a test",
                "category": "private",
                "rows": 1,
                "files": [{"path": "a.jsonl", "digest": digest_bytes(b"a letter"), "size": 8, "rows": 1}],
            }
        )
    )
    recorder.lay_out_parent(campaign, tmp_path)
    finish_round(tmp_path, campaign, 1, data=(Learned(dataset=letters.id, tokens=9),))
    (model,) = recorder.record_finished(campaign, tmp_path)
    assert model.data == (
        DataUsed(dataset=letters.id, payload=letters.payload, member="law", licence="CC-BY-4.0", tokens=9),
    )
    with base.database.session() as session:
        assert registry.reached(session)["tiny-1.1"] == {letters.id}


def test_the_next_round_starts_from_the_last_recorded_model(campaign: str, recorder: Recorder, tmp_path: Path) -> None:
    recorder.lay_out_parent(campaign, tmp_path)
    finish_round(tmp_path, campaign, 1)
    recorder.record_finished(campaign, tmp_path)
    assert recorder.lay_out_parent(campaign, tmp_path) == 2
    assert (plan.model_directory(tmp_path, 1) / "model.safetensors").read_bytes() == weights(1)
    assert plan.read_result(tmp_path, 1) is None


@pytest.mark.parametrize("server", [Server(rate=0.7), None])
def test_a_strategy_that_looks_back_finds_the_recorded_updates(
    campaign: str, recorder: Recorder, tmp_path: Path, server: Server | None
) -> None:
    recorder.lay_out_parent(campaign, tmp_path)
    finish_round(tmp_path, campaign, 1)
    finish_round(tmp_path, campaign, 2)
    recorder.record_finished(campaign, tmp_path)
    for _ in range(2):  # also after one more interruption
        assert recorder.lay_out_parent(campaign, tmp_path) == 3
        found = [plan.update_file(tmp_path, number) for number in (1, 2, 3)]
        kept = [path.read_bytes() for path in found if path.exists()]
        assert kept == ([weights(-1), weights(-2)] if server else [])


def test_a_result_that_does_not_follow_its_parent_is_dropped(campaign: str, recorder: Recorder, tmp_path: Path) -> None:
    recorder.lay_out_parent(campaign, tmp_path)
    (tmp_path / "parent" / "model.safetensors").write_bytes(weights(9))
    finish_round(tmp_path, campaign, 1)
    assert recorder.record_finished(campaign, tmp_path) == []
    assert plan.read_result(tmp_path, 1) is None


def test_after_a_stop_nothing_is_recorded(base: Any, campaign: str, recorder: Recorder, tmp_path: Path) -> None:
    recorder.lay_out_parent(campaign, tmp_path)
    finish_round(tmp_path, campaign, 1)
    base.record(Stop(hub=ORIGIN, signer="core", target=campaign))
    assert recorder.record_finished(campaign, tmp_path) == []


def test_leftovers_of_a_killed_server_app_are_removed(campaign: str, recorder: Recorder, tmp_path: Path) -> None:
    recorder.lay_out_parent(campaign, tmp_path)
    finish_round(tmp_path, campaign, 1, name="1.partial")
    plan.discard_unfinished(tmp_path)
    assert not list((tmp_path / "rounds").iterdir())
