"""A round's local training: what comes in is checked, what goes out is an adapter and numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from contributors.site.clientapp import files_of, honest_work, read_task
from contributors.site.consent import change_agreements, with_agreement
from contributors.site.policy import update_policy
from contributors.site.training import PrivateText, private_texts, train
from learning.adapters import AdapterShape, adapter_state, attach
from learning.architectures import build_model
from learning.export import load_model, save_model
from learning.tokenizer import train_tokenizer
from learning.updates import load_tensors
from protos.documents.base import FileEntry
from protos.documents.campaigns import Adapter, CampaignSpec, LocalTraining, RoundTask
from tests.shapes import llama
from trust.canonical import emit
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid, NotFound

SECRET = "the patient's name is Aurelia Quirke and nobody may know it"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A tiny model as it travels."""
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(iter([SECRET] * 9), 300)
    model = build_model(llama(len(tokenizer), 32, 64, 2, 2, 2, 64), seed=1)
    folder = tmp_path_factory.mktemp("model")
    return {path.name: path.read_bytes() for path in save_model(model, tokenizer, folder)}


@pytest.fixture
def task(files: dict[str, bytes]) -> RoundTask:
    spec = CampaignSpec(
        name="rounds",
        base_model="tiny-1",
        rounds=3,
        minimum_members=1,
        adapter=Adapter(rank=2, alpha=4),
        training=LocalTraining(steps=4, batch_size=2, sequence_length=16, learning_rate=0.01),
    )
    entries = tuple(FileEntry(path=name, digest=digest_bytes(data), size=len(data)) for name, data in files.items())
    return RoundTask(campaign="campaign-a", round=2, spec=spec, files=entries)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": SECRET, "n": n}) + "\n" for n in range(9)))
    (folder / "deep" / "b.txt").write_text(SECRET * 3)
    (folder / "image.png").write_bytes(b"\x89PNG")
    return folder


def test_an_adapter_comes_out_that_fits_the_reference(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    trained = train(task, files, PrivateText(data))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    model, _ = load_model(tmp_path)
    reference = adapter_state(attach(model, AdapterShape(2, 4), task.seed))
    assert {n: t.shape for n, t in trained.adapter.items()} == {n: t.shape for n, t in reference.items()}
    assert any(not torch.equal(trained.adapter[name], reference[name]) for name in reference)
    assert trained.examples == 10
    assert trained.result.loss_last < trained.result.loss_first


def test_the_same_round_again_gives_the_same_update(task: RoundTask, files: dict[str, bytes], data: Path) -> None:
    first, second = train(task, files, PrivateText(data)), train(task, files, PrivateText(data))
    assert all(torch.equal(first.adapter[name], second.adapter[name]) for name in first.adapter)


def test_a_file_that_was_exchanged_is_noticed(task: RoundTask, files: dict[str, bytes], data: Path) -> None:
    with pytest.raises(Invalid, match=r"config\.json"):
        train(task, {**files, "config.json": b"{}"}, PrivateText(data))
    with pytest.raises(Invalid):
        train(task, {**files, "modeling.py": b"print()"}, PrivateText(data))


def test_what_leaves_are_tensors_and_numbers_and_never_the_text(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    update_policy(tmp_path, data, "all")
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, task.spec))
    reply, update = honest_work(tmp_path)(task, files)
    assert all(".lora_" in name for name in load_tensors(update))
    assert reply.update == digest_bytes(update)
    said = "".join(capfd.readouterr())
    for word in ("Aurelia", "Quirke", "patient"):
        assert word not in said
        assert word.encode() not in update
        assert word not in reply.model_dump_json()


def test_without_consent_the_data_is_not_even_opened(task: RoundTask, files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('data = "/nonexistent"')
    with pytest.raises(Denied, match="not joined"):
        honest_work(tmp_path)(task, files)


def test_texts_come_from_lines_and_files_in_order(data: Path) -> None:
    assert list(private_texts(data)) == [SECRET] * 9 + [SECRET * 3]
    assert list(private_texts(data / "deep" / "b.txt")) == [SECRET * 3]


def test_text_that_was_added_counts_in_the_next_round(task: RoundTask, files: dict[str, bytes], data: Path) -> None:
    text = PrivateText(data)
    assert [train(task, files, text).examples for _ in range(2)] == [10, 10]
    (data / "c.md").write_text(SECRET)
    assert train(task, files, text).examples == 11


@pytest.mark.parametrize("line", [SECRET, json.dumps([SECRET]), json.dumps({"body": SECRET}), '{"text": 7}'])
def test_a_bad_line_is_named_and_never_quoted(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(Invalid, match=r"ine 2.* of a\.jsonl|line 2 of a\.jsonl") as caught:
        list(private_texts(tmp_path))
    assert "Quirke" not in str(caught.value)


def test_no_text_is_a_plain_refusal(tmp_path: Path, task: RoundTask, files: dict[str, bytes]) -> None:
    with pytest.raises(NotFound):
        list(private_texts(tmp_path / "nowhere"))
    with pytest.raises(Invalid):
        list(private_texts(tmp_path))
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(Invalid, match="one block"):
        train(task, files, PrivateText(tmp_path))


def message(task: RoundTask, files: dict[str, bytes]) -> RecordDict:
    arrays = {n: Array(dtype="uint8", shape=(len(d),), stype="bytes", data=d) for n, d in files.items()}
    document = emit(task.model_dump(mode="json"))
    return RecordDict({"task": ConfigRecord({"document": document}), "files": ArrayRecord(arrays)})


def test_a_task_is_read_as_it_was_sent(task: RoundTask, files: dict[str, bytes]) -> None:
    content = message(task, files)
    assert read_task(content) == task
    assert files_of(content, task) == files


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"task": ConfigRecord({"document": "text"})}),
        RecordDict({"task": ConfigRecord({"document": b"[]"})}),
        RecordDict({"task": ConfigRecord({"document": b"{" * 100})}),
        RecordDict({"task": ConfigRecord({"document": b'{"campaign":"../../etc","round":1}'})}),
        RecordDict({"task": ConfigRecord({"code": "import os"})}),
    ],
)
def test_a_malformed_task_is_refused(content: RecordDict) -> None:
    with pytest.raises(Invalid):
        read_task(content)


def test_files_that_the_task_does_not_name_are_refused(task: RoundTask, files: dict[str, bytes]) -> None:
    for wrong in ({}, {**files, "more.json": b"{}"}, {**files, "config.json": b"{"}):
        with pytest.raises(Invalid):
            files_of(message(task, wrong), task)
