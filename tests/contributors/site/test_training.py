"""A round's local training: what comes in is checked, what goes out is an adapter and numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow
import pytest
import torch
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from pyarrow import parquet

from contributors.site.budget import Recorded
from contributors.site.clientapp import UNFIT, Work, _reply, files_of, honest_work, message_content, read_task
from contributors.site.consent import change_agreements, with_agreement
from contributors.site.datasets import Declarations, Declared, Source, write_declarations
from contributors.site.policy import update_policy
from contributors.site.private import PrivateText, Unfit
from contributors.site.proving import Came, Models, write_models
from contributors.site.spending import note_recorded, read_spending
from contributors.site.training import Trained, train, update_of
from contributors.texts import sort_files
from learning.adapters import AdapterShape, adapter_state, attach
from learning.architectures import build_model
from learning.compression import expand
from learning.export import load_model, save_model
from learning.tokenizer import train_tokenizer
from learning.updates import load_tensors
from protos.documents.architectures import Mixtral
from protos.documents.base import FileEntry
from protos.documents.campaigns import CampaignSpec
from protos.documents.masking import Masks
from protos.documents.methods import Adapter, LocalTraining, Preferences, Transfer
from protos.documents.privacy import Privacy
from protos.documents.rounds import RoundReply, RoundTask
from tests.shapes import llama
from trust.canonical import emit, parse
from trust.digests import digest_bytes
from trust.errors import Denied, Invalid

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


def named(data: Path) -> tuple[Source, ...]:
    """The files as if every folder were a dataset."""
    files, _ = sort_files(data)
    return tuple(
        Source(path, digest_bytes(path.read_bytes()), f"data-{path.parent.name.replace('_', '-')}") for path in files
    )


def text_of(data: Path) -> PrivateText:
    return PrivateText(lambda: named(data))


def declare(home: Path, data: Path, **more: object) -> None:
    """As if the member had submitted the folder as a private dataset."""
    files = tuple(source.digest for source in named(data))
    one = {"id": "data-1", "category": "private", "jurisdiction": ("world",), "files": files, **more}
    write_declarations(home, Declarations(member="law", hub="test-hub", datasets=(Declared.read(one),)))


def test_an_adapter_comes_out_that_fits_the_reference(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    trained = train(task, files, text_of(data))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    model, _ = load_model(tmp_path)
    reference = adapter_state(attach(model, AdapterShape(2, 4), task.seed))
    assert {n: t.shape for n, t in trained.adapter.items()} == {n: t.shape for n, t in reference.items()}
    assert any(not torch.equal(trained.adapter[name], reference[name]) for name in reference)
    assert trained.examples == 10
    assert trained.result.loss_last < trained.result.loss_first


def test_the_same_round_again_gives_the_same_update(task: RoundTask, files: dict[str, bytes], data: Path) -> None:
    first, second = train(task, files, text_of(data)), train(task, files, text_of(data))
    assert all(torch.equal(first.adapter[name], second.adapter[name]) for name in first.adapter)


def test_a_file_that_was_exchanged_is_noticed(task: RoundTask, files: dict[str, bytes], data: Path) -> None:
    with pytest.raises(Invalid, match=r"config\.json"):
        train(task, {**files, "config.json": b"{}"}, text_of(data))
    with pytest.raises(Invalid):
        train(task, {**files, "modeling.py": b"print()"}, text_of(data))


def test_what_leaves_are_tensors_and_numbers_and_never_the_text(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    update_policy(tmp_path, data, "all")
    declare(tmp_path, data)
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, task.spec))
    reply, update = honest_work(tmp_path)(task, files)
    assert all(".lora_" in name for name in load_tensors(update))
    assert reply.update == digest_bytes(update)
    assert [(learned.dataset, learned.tokens) for learned in reply.data] == [("data-1", reply.tokens)]
    said = "".join(capfd.readouterr())
    for word in ("Aurelia", "Quirke", "patient"):
        assert word not in said
        assert word.encode() not in update
        assert word not in reply.model_dump_json()


def test_a_hub_that_sends_another_model_than_the_ledger_has_is_refused_before_anything_is_trained(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    update_policy(tmp_path, data, "all")
    declare(tmp_path, data)
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, task.spec, base=task.files))
    other = tuple(each.model_copy(update={"digest": digest_bytes(b"")}) for each in task.files)
    before, work = Came(campaign=task.campaign, round=1, files=task.files), honest_work(tmp_path)
    write_models(tmp_path, Models(rounds=(before.model_copy(update={"files": other}),)))
    name = min(files)
    assert reply_of(task, files, work).refusal == (
        f"{name} of the task is not that of round 1 of campaign-a on the ledger."
    )
    write_models(tmp_path, Models(rounds=(before,)))
    assert reply_of(task, files, work).refusal == ""


def test_without_consent_the_data_is_not_even_opened(task: RoundTask, files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('data = "/nonexistent"')
    with pytest.raises(Denied, match="not joined"):
        honest_work(tmp_path)(task, files)


def test_every_dataset_counts_by_its_share_of_the_text(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    trained = train(task, files, text_of(data))
    counts = {learned.dataset: learned.tokens for learned in trained.data}
    assert counts.keys() == {"data-private", "data-deep"}
    assert 2 < counts["data-private"] / counts["data-deep"] < 4  # nine sentences and three
    assert trained.result.tokens - 2 < sum(counts.values()) <= trained.result.tokens


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".txt", ".md"])
def test_every_format_of_a_dataset_trains(
    task: RoundTask, files: dict[str, bytes], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"text{suffix}"
    match suffix:
        case ".parquet":
            parquet.write_table(pyarrow.table({"text": [SECRET] * 9, "name": ["Aurelia"] * 9}), path)
        case ".jsonl":
            path.write_text(f"{json.dumps({'text': SECRET})}\n" * 9)
        case _:
            path.write_text(SECRET * 9)
    assert train(task, files, text_of(tmp_path)).examples == (1 if suffix in (".txt", ".md") else 9)


def conversations(folder: Path, *answers: str) -> Path:
    """Beside a text that belongs to other campaigns, a file with a conversation for each answer."""
    rows = [{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": a}]} for a in answers]
    (folder / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "b.txt").write_text(SECRET)
    return folder


def asking_for_answers(task: RoundTask, length: int = 64) -> RoundTask:
    training = task.spec.training.model_copy(update={"sequence_length": length})
    return task.model_copy(update={"spec": task.spec.model_copy(update={"objective": "sft", "training": training})})


def test_supervised_rounds_learn_what_the_assistant_says(
    task: RoundTask, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Of the conversations alone; what is not the assistant's teaches nothing."""
    asked = asking_for_answers(task)
    trained = train(asked, files, text_of(conversations(tmp_path, SECRET, SECRET[:20])))
    assert trained.examples == 2
    assert trained.result.loss_last < trained.result.loss_first
    (learned,) = trained.data
    assert 0 < learned.tokens <= trained.result.tokens
    assert train(task, files, text_of(tmp_path)).examples == 3  # as texts, all three train


def test_a_conversation_of_which_nothing_is_left_counts_for_no_dataset(
    task: RoundTask, files: dict[str, bytes], tmp_path: Path
) -> None:
    """Its question alone fills the row: it teaches nothing, so the ledger is not told that it was learned from."""
    conversations(tmp_path, "Nobody.")
    (tmp_path / "long").mkdir()
    rows = [{"role": "user", "content": SECRET * 9}, {"role": "assistant", "content": "Nobody."}]
    (tmp_path / "long" / "a.jsonl").write_text(json.dumps({"messages": rows}))
    trained = train(asking_for_answers(task), files, text_of(tmp_path))
    assert trained.examples == 1
    assert [learned.dataset for learned in trained.data] == [f"data-{tmp_path.name.replace('_', '-')}"]


def test_an_update_may_travel_in_fewer_bytes_and_be_held_to_its_start(
    task: RoundTask, files: dict[str, bytes], data: Path
) -> None:
    trained = train(task, files, text_of(data))
    change = {name: tensor - trained.start[name] for name, tensor in trained.adapter.items()}
    whole, small = (update_of(trained, Transfer.read({"how": how})).data for how in ("fp32", "int8"))
    assert load_tensors(whole).keys() == trained.adapter.keys()
    assert len(small) < len(whole)
    for name, tensor in expand(small, "int8", trained.start).items():
        torch.testing.assert_close(tensor, change[name], rtol=0, atol=float(change[name].abs().amax()) / 250)
    firm = task.spec.training.model_copy(update={"proximal": 1000.0})
    held = train(
        task.model_copy(update={"spec": task.spec.model_copy(update={"training": firm})}), files, text_of(data)
    )

    def moved(of: Trained) -> float:
        return sum(float((tensor - of.start[name]).square().sum()) for name, tensor in of.adapter.items())

    assert moved(held) < moved(trained)


def test_all_weights_train_and_how_far_they_moved_is_what_leaves(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    full = CampaignSpec.read({**dict(task.spec), "trainable": "full", "adapter": Adapter()})
    trained = train(task.model_copy(update={"spec": full}), files, text_of(data))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    model, _ = load_model(tmp_path)
    assert trained.adapter.keys() == {name for name, _ in model.named_parameters()}
    assert all(bool(tensor.any()) and not trained.start[name].any() for name, tensor in trained.adapter.items())
    assert trained.result.loss_last < trained.result.loss_first


def test_a_member_trains_its_own_experts_and_without_any_it_refuses(
    task: RoundTask, data: Path, tmp_path: Path
) -> None:
    tokenizer = train_tokenizer(iter([SECRET] * 9), 300)
    shape = Mixtral.model_construct(
        family="mixtral", vocab_size=len(tokenizer), hidden_size=32, heads=2, context_length=64, layers=1, kv_heads=2,
        intermediate_size=16, experts=4, experts_per_token=2,
    )  # fmt: skip
    folder = tmp_path / "routed"
    files = {p.name: p.read_bytes() for p in save_model(build_model(shape.hugging_face(), 1), tokenizer, folder)}
    entries = tuple(FileEntry(path=name, digest=digest_bytes(data), size=len(data)) for name, data in files.items())
    own = {"trainable": "experts", "experts": {"own": {"law": [2], "medicine": [0, 1]}}, "adapter": Adapter()}
    spec = CampaignSpec.read({**dict(task.spec), **own})
    routed = task.model_copy(update={"spec": spec, "files": entries})
    trained = train(routed, files, text_of(data), member="law")
    assert trained.adapter.keys() == {f"model.layers.0.mlp.experts.{each}_proj.2" for each in ("down", "gate_up")}
    assert all(bool(tensor.any()) for tensor in trained.adapter.values())
    with pytest.raises(Invalid, match="No expert is named"):
        train(routed, files, text_of(data), member="stranger")


def preferences(folder: Path, *, scores: tuple[float, float] | None = None) -> Path:
    """A site whose people prefer one answer, six times; beside a conversation, which is for other campaigns."""
    scored = {} if scores is None else dict(zip(("score_chosen", "score_rejected"), scores, strict=True))
    row = {"prompt": [{"role": "user", "content": "Who?"}], "chosen": SECRET[:12], "rejected": "nobody may", **scored}
    (folder / "p.jsonl").write_text(f"{json.dumps(row)}\n" * 6)
    return conversations(folder, SECRET)


def asking_for_preferences(task: RoundTask, **more: float) -> RoundTask:
    spec = asking_for_answers(task).spec
    asked = {"objective": "dpo", "preferences": Preferences.read({"beta": 0.5, **more})}
    return task.model_copy(update={"spec": spec.model_copy(update=asked)})


def test_preference_rounds_learn_which_answer_is_chosen(
    task: RoundTask, files: dict[str, bytes], tmp_path: Path
) -> None:
    """They begin at log 2, where the model prefers what it preferred before, and an offset asks for more."""
    trained = train(asking_for_preferences(task), files, text_of(preferences(tmp_path)))
    assert trained.examples == 6
    assert trained.result.loss_first == pytest.approx(math.log(2), abs=0.02)
    assert trained.result.loss_last < trained.result.loss_first - 0.02
    scored = text_of(preferences(tmp_path, scores=(9, 2)))
    further = train(asking_for_preferences(task, offset=1.0), files, scored)
    assert further.result.loss_first == pytest.approx(math.log(1 + 8), abs=0.05)  # seven points: log 8
    (tmp_path / "p.jsonl").unlink()
    with pytest.raises(Unfit, match="no preference"):
        train(asking_for_preferences(task), files, text_of(tmp_path))


def test_one_site_serves_campaigns_of_both_kinds(task: RoundTask, files: dict[str, bytes], tmp_path: Path) -> None:
    text = text_of(conversations(tmp_path, SECRET, SECRET))
    assert [train(each, files, text).examples for each in (task, asking_for_answers(task), task)] == [3, 2, 3]


def test_without_a_conversation_a_supervised_round_is_refused(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(Unfit, match="no conversation"):
        train(asking_for_answers(task), files, text_of(data))
    with pytest.raises(Unfit, match="within 2 tokens"):
        train(asking_for_answers(task, 2), files, text_of(conversations(tmp_path, SECRET)))


def test_text_that_changed_counts_in_the_next_round(task: RoundTask, files: dict[str, bytes], data: Path) -> None:
    text = text_of(data)
    assert [train(task, files, text).examples for _ in range(2)] == [10, 10]
    (data / "c.md").write_text(SECRET)
    assert train(task, files, text).examples == 11


def test_text_that_changes_while_it_is_read_is_not_trained_on(
    task: RoundTask, files: dict[str, bytes], data: Path
) -> None:
    looks = iter([named(data), ()])
    with pytest.raises(Unfit, match="changed while it was read"):
        train(task, files, PrivateText(lambda: next(looks)))


def test_what_no_dataset_names_is_refused_and_named_here_alone(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    update_policy(tmp_path, data, "all")
    declare(tmp_path, data)
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, task.spec))
    work = honest_work(tmp_path)
    work(task, files)
    (data / "Quirke.txt").write_text(SECRET)
    capfd.readouterr()
    refusal = reply_of(task, files, work)
    assert refusal.refusal == UNFIT
    assert "Quirke.txt belongs to no dataset that law has submitted" in capfd.readouterr().out
    declare(tmp_path, data, gone="data-1 was withdrawn")
    assert reply_of(task, files, work).refusal == UNFIT
    assert "data-1 was withdrawn" in capfd.readouterr().out
    declare(tmp_path, data)
    assert reply_of(task, files, work).refusal == ""


def test_a_site_that_never_heard_of_its_datasets_trains_on_nothing(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    update_policy(tmp_path, data, "all")
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, task.spec))
    with pytest.raises(Unfit, match="does not know its own datasets"):
        honest_work(tmp_path)(task, files)


@pytest.mark.parametrize(
    "line",
    [
        SECRET,
        json.dumps([SECRET]),
        json.dumps({"body": SECRET}),
        '{"text": 7}',
        json.dumps({"messages": [{"role": SECRET, "content": SECRET}]}),
    ],
)
def test_a_bad_line_is_named_and_never_quoted(
    task: RoundTask, files: dict[str, bytes], tmp_path: Path, line: str
) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(Unfit, match=r"a\.jsonl, line 2") as caught:
        train(task, files, text_of(tmp_path))
    assert "Quirke" not in str(caught.value)


def test_too_little_text_is_a_plain_refusal(tmp_path: Path, task: RoundTask, files: dict[str, bytes]) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(Unfit, match="one block"):
        train(task, files, text_of(tmp_path))


def reply_of(task: RoundTask, files: dict[str, bytes], work: Work) -> RoundReply:
    """What the hub gets to read."""
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    sent = Message(message(task, files), dst_node_id=1, message_type=MessageType.TRAIN)
    document = _reply(sent, work).content.config_records["reply"]["document"]
    assert isinstance(document, bytes)
    return RoundReply.read(parse(document))


def message(task: RoundTask, files: dict[str, bytes]) -> RecordDict:
    data = b"".join(files.values())  # as the task names them
    return message_content("task", emit(task.model_dump(mode="json")), data)


def private(task: RoundTask, guarantee: str) -> RoundTask:
    given = {"guarantee": guarantee, "clip": 0.01, "noise": 2, "delta": 1e-6, "maximum_epsilon": 9}
    return task.model_copy(update={"spec": task.spec.model_copy(update={"privacy": Privacy.read(given)})})


@pytest.mark.parametrize("guarantee", ["central", "local"])
def test_what_leaves_is_clipped_and_noised_and_noted_first_and_tells_no_loss(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path, guarantee: str
) -> None:
    asked = private(task, guarantee)
    update_policy(tmp_path, data, "all")
    declare(tmp_path, data)
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, asked.spec))
    reply, update = honest_work(tmp_path)(asked, files)
    start = train(task, files, text_of(data)).start
    change = torch.cat([(load_tensors(update)[name] - start[name]).flatten() for name in sorted(start)])
    expected = 0.01 if guarantee == "central" else 0.02 * math.sqrt(len(change))
    assert float(change.double().norm()) == pytest.approx(expected, rel=0.2 if guarantee == "local" else 1e-4)
    assert (reply.loss_first, reply.loss_last) == (0, 0)
    assert read_spending(tmp_path).of(task.campaign, 2).answers == 1
    if guarantee == "local":
        _, other = honest_work(tmp_path)(asked, files)
        assert other != update


def test_an_update_of_a_campaign_under_masks_leaves_under_masks_alone(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    """Whatever message the hub sends it in, and nothing is masked that the campaign asks for in the clear."""
    masks = {"masks": Masks(colluding=0), "clip_norm": 1.0, "minimum_members": 3}
    under = task.model_copy(update={"spec": task.spec.model_copy(update=masks), "campaign": "campaign-b"})
    update_policy(tmp_path, data, "all")
    declare(tmp_path, data)
    for each in (task, under):
        change_agreements(tmp_path, lambda known, each=each: with_agreement(known, each.campaign, each.spec))
    work = honest_work(tmp_path)
    assert "leave the site under masks" in reply_of(under, files, work).refusal
    with pytest.raises(Denied, match="or those of none do"):
        work(task, files, lambda task, trained: pytest.fail("was packed"))


def test_a_site_whose_budget_is_spent_says_so_before_it_trains(
    task: RoundTask, files: dict[str, bytes], data: Path, tmp_path: Path
) -> None:
    asked = private(task, "local")
    update_policy(tmp_path, data, "all")
    declare(tmp_path, data)
    with (tmp_path / "site.toml").open("a") as policy:
        policy.write("[privacy]\nepsilon = 4.5\n")
    change_agreements(tmp_path, lambda known: with_agreement(known, task.campaign, asked.spec))
    note_recorded(tmp_path, [Recorded("campaign-before", 2.0, 3)])
    assert "over its budget of 4.5" in reply_of(asked, files, honest_work(tmp_path)).refusal
    assert read_spending(tmp_path).of(task.campaign, 2).answers == 0


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


def test_a_task_of_another_version_says_so(task: RoundTask) -> None:
    newer = emit({**task.model_dump(mode="json"), "invented": "later"})
    with pytest.raises(
        Invalid, match=r"the hub another version, whose task it cannot read \(invented: is not known here\)\."
    ) as told:
        read_task(RecordDict({"task": ConfigRecord({"document": newer})}))
    assert told.value.todo == "Install the hub's version of coalition."


def test_files_that_the_task_does_not_name_are_refused(task: RoundTask, files: dict[str, bytes]) -> None:
    for wrong in ({}, {**files, "more.json": b"{}"}, {**files, "config.json": b"{"}):
        with pytest.raises(Invalid):
            files_of(message(task, wrong), task)
