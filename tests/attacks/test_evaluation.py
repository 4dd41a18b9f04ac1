"""Attacks on scores: a hub that lies about them, a member who trains on its own exam."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from contributors import rerun
from contributors.recheck import recomputed
from dashboards.rows import scores
from hub.evaluation import projection
from hub.evaluation.leaderboard import leaderboard
from hub.evaluation.outputs import scores_of
from hub.evaluation.scorer import Scorer
from hub.evaluation.tables import EvaluationRow
from hub.ledger.entries import Entry
from learning.architectures import build_model
from learning.export import save_model
from learning.grading import credit
from learning.tokenizer import train_tokenizer
from protos.documents.evaluations import Evaluation, Sample, TaskScore
from protos.documents.graded import regraded
from protos.documents.statements import HUB
from protos.documents.suite import Perplexity
from protos.documents.suite_files import read_suite, task_rows
from tests.contributors.cli.conftest import Coalition, coalition
from tests.contributors.conftest import base, database, database_url, hub
from tests.contributors.served import Hub
from tests.hub.conftest import ORIGIN, Base
from tests.hub.evaluation.conftest import CHOICE, TASKS, record_evaluation, record_suite, suite_files
from tests.hub.models.conftest import contribution, record_model
from tests.shapes import llama

__all__ = ["base", "coalition", "database", "database_url", "hub"]
FILES = suite_files(tasks=[{"name": "terms", "data": "terms.jsonl", **CHOICE}, TASKS[5]])


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = train_tokenizer(["the heart pumps blood " * 50], 280)
    save_model(build_model(llama(len(tokenizer), 16, 32, 1, 2, 1, 128), seed=0), tokenizer, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def log(model_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The true per-item log of the model under the suite."""
    folder = tmp_path_factory.mktemp("again")
    for name, body in model_files.items():
        (folder / name).write_bytes(body)
    return Scorer(folder).evaluate(FILES, "law/law-exam@0123456789ab")


def record(base: Base, suite: Entry, samples: list[Sample], claimed: tuple[TaskScore, ...]) -> Entry:
    return record_evaluation(base, "tiny-1", suite, samples, claimed)


@pytest.fixture
def evaluated(hub: Hub, coalition: Coalition, tmp_path: Path, model_files: dict[str, bytes]) -> tuple[Entry, Path]:
    """A member's suite and a model in the ledger; the suite's entry, and the member's home."""
    projection.register(hub.base.journal)
    home = tmp_path / "law"
    said = coalition("enrol", "--hub", f"127.0.0.1:{hub.port}", "--token", hub.invite("Law Institute"), home=home)
    assert said.code == 0, said.err
    hub.base.enrol("exam-board")
    suite = record_suite(hub.base, "exam-board", FILES)
    record_model(hub.base, "tiny-1", model_files)
    return suite, home


def better(claimed: tuple[TaskScore, ...]) -> tuple[TaskScore, ...]:
    return (claimed[0].model_copy(update={"value": claimed[0].value + 0.05}), *claimed[1:])


def test_attack_18_a_hub_that_signs_a_false_score_is_found(
    hub: Hub, coalition: Coalition, evaluated: tuple[Entry, Path], log: list[Sample]
) -> None:
    """The evaluator reports a false score -> the signed statement names the log's digest, and the log says otherwise: any
    member's `coalition eval verify` finds it and exits with 1."""
    suite, home = evaluated
    entry = record(hub.base, suite, log, better(scores_of(read_suite(FILES), log)))
    said = coalition("eval", "verify", entry.id, "--json", home=home)
    assert said.code == 1
    assert "its log says" in said.json["problems"][0]


def test_attack_18_a_hub_that_shows_another_score_than_it_signed_is_found(
    hub: Hub, coalition: Coalition, evaluated: tuple[Entry, Path], log: list[Sample]
) -> None:
    suite, home = evaluated
    claimed = scores_of(read_suite(FILES), log)
    entry = record(hub.base, suite, log, claimed)
    assert coalition("eval", "verify", entry.id, home=home).code == 0
    with hub.base.database.session(writing=True) as session:
        row = session.get(EvaluationRow, entry.id)
        assert row is not None
        row.scores = [score.model_dump(mode="json") for score in better(claimed)]
        session.add(row)
    said = coalition("eval", "verify", entry.id, "--json", home=home)
    assert (said.code, said.json["problems"]) == (1, ["The hub shows another score of terms than it signed."])


def test_attack_18_a_log_that_does_not_follow_from_the_suite_is_found(
    hub: Hub, coalition: Coalition, evaluated: tuple[Entry, Path], log: list[Sample]
) -> None:
    """The hub forges the log too -> whoever may read the suite sees that its answers are not the suite's."""
    suite, home = evaluated
    forged = [sample if sample.answer is None else _right(sample) for sample in log]
    entry = record(hub.base, suite, forged, scores_of(read_suite(FILES), forged))
    said = coalition("eval", "verify", entry.id, "--json", home=home)
    assert said.code == 1
    assert "does not fit the suite" in said.json["problems"][0]


def _right(sample: Sample) -> Sample:
    """The likeliest choice declared to be the answer."""
    likelihoods = [value / length for value, length in zip(sample.log_likelihoods, sample.lengths, strict=True)]
    return sample.model_copy(update={"answer": likelihoods.index(max(likelihoods))})


@pytest.mark.system
def test_attack_18_likelihoods_that_the_model_does_not_give_are_found_by_running_again(
    hub: Hub, coalition: Coalition, evaluated: tuple[Entry, Path], log: list[Sample]
) -> None:
    """The forged log fits suite and score -> only evaluating again tells: `reproduce` does it in the sandbox and disagrees."""
    suite, home = evaluated
    forged = [
        sample
        if sample.answer is None
        else sample.model_copy(
            update={
                "log_likelihoods": tuple(
                    -1.0 if i == sample.answer else -900.0 for i in range(len(sample.log_likelihoods))
                )
            }
        )
        for sample in log
    ]
    claimed = scores_of(read_suite(FILES), forged)
    assert claimed[0].value == 1
    entry = record(hub.base, suite, forged, claimed)
    assert coalition("eval", "verify", entry.id, home=home).code == 0
    said = coalition("eval", "reproduce", entry.id, "--json", home=home)
    assert said.code == 1, said.err
    item, value = said.json["problems"]
    assert item.startswith("Evaluated again, item 0 of terms has a log likelihood of")
    assert value.startswith("Evaluated again, the acc_norm of terms is")
    terms, say = said.json["tasks"]
    assert (terms["same"], terms["turned"] > 0, said.json["identical"]) == (0, True, False)
    assert (say["same"], say["furthest"]) == (say["items"], 0), "what was true of it agrees to the last digit"


LOOKS_AROUND = """#!{python}
import json, pathlib, sys, tarfile
rows = tarfile.open(fileobj=sys.stdin.buffer, mode="r|").getnames()
near = [path for path in pathlib.Path(sys.argv[2]).parent.rglob("*") if path.is_file()]
lying = [str(path) for path in near if path.suffix == ".jsonl" or path.name == "suite.json"]
pathlib.Path({report!r}).write_text(json.dumps([sorted(rows), lying, [path.name for path in near]]))
"""
"""Takes the evaluator's place, and says what it was given and what lies beside the model."""


def test_a_suite_that_is_run_again_lies_on_no_disk(
    hub: Hub,
    coalition: Coalition,
    evaluated: tuple[Entry, Path],
    log: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its owner reruns a sealed suite -> it goes through a pipe into memory; the model alone is a file."""
    suite, home = evaluated
    entry = record(hub.base, suite, log, scores_of(read_suite(FILES), log))
    script, report = tmp_path / "coalition-hub", tmp_path / "report.json"
    script.write_text(LOOKS_AROUND.format(python=sys.executable, report=str(report)))
    script.chmod(0o700)
    monkeypatch.setattr(rerun, "_program", lambda: str(script))
    assert coalition("eval", "reproduce", entry.id, "--json", home=home).code == 1, "it gave no items"
    came, lying, near = json.loads(report.read_text())
    assert came == sorted(FILES)
    assert lying == []
    assert "model.safetensors" in near
    assert not set(FILES) & set(near)


def test_the_checks_by_themselves(log: list[Sample]) -> None:
    claimed = scores_of(read_suite(FILES), log)
    claim = Evaluation(
        hub=ORIGIN,
        signer=HUB,
        model="tiny-1",
        model_payload="sha256:" + "0" * 64,
        suite="suite-1",
        suite_payload="sha256:" + "0" * 64,
        harness="x",
        scores=claimed,
        seconds=1,
    )
    assert list(recomputed(claim, log)) == []
    assert list(regraded(FILES, log, credit)) == []
    assert list(recomputed(claim, log[1:]))
    assert "every item" in next(iter(regraded(FILES, log[1:], credit)))
    assert list(recomputed(claim, [*log, log[0].model_copy(update={"task": "other"})]))
    cheated = [s if s.output is None else s.model_copy(update={"credit": 1.0}) for s in log]
    assert "does not fit the suite" in next(iter(regraded(FILES, cheated, credit)))


@pytest.mark.parametrize("task", [TASKS[2], TASKS[3]], ids=lambda task: str(task["kind"]))
def test_attack_18_a_text_is_as_long_as_the_suite_says(task: dict[str, Any]) -> None:
    """A thousand times the bytes would make a thousandth of the bits, and nobody would need the model to see it."""
    files = suite_files(tasks=[task])
    (read,) = read_suite(files).tasks
    texts = [
        str(row[read.text]) if isinstance(read, Perplexity) else f" {row[read.target]}"  # type: ignore[union-attr]
        for row in task_rows(read, files[read.data])
    ]
    true = [
        Sample(task=read.name, item=item, log_likelihoods=(-5.0,), lengths=(len(text.encode()),))
        for item, text in enumerate(texts)
    ]
    assert list(regraded(files, true, credit)) == []
    for forged in (
        {"lengths": (true[0].lengths[0] * 1000,)},
        {"log_likelihoods": (-5.0, -5.0)},
        {"log_likelihoods": ()},
    ):
        said = list(regraded(files, [true[0].model_copy(update=forged), *true[1:]], credit))
        assert "does not fit the suite at item 0" in said[0]


def test_attack_19_an_author_is_not_ranked_by_its_own_suite(base: Base) -> None:
    """A suite's author trains on its own hidden suite -> a model of which it supplied half or more is shown with a mark and
    not ranked by that suite; by other suites it is. A smaller part is told."""
    projection.register(base.journal)
    for member in ("law-institute", "university", "museum"):
        base.enrol(member)
    record_model(base, "tiny-1", {"model.safetensors": b"1"})
    record_model(
        base, "tiny-1.1", {"model.safetensors": b"2"}, parent="tiny-1", contributions=[contribution("law-institute")]
    )
    equals = [contribution(member) for member in ("law-institute", "university", "museum")]
    record_model(base, "tiny-1.2", {"model.safetensors": b"3"}, parent="tiny-1", contributions=equals)
    suites = {name: record_suite(base, name, suite_files(f"{name}-exam")) for name in ("law-institute", "university")}
    for model, value in (("tiny-1", 0.4), ("tiny-1.1", 0.9), ("tiny-1.2", 0.5)):
        for suite in suites.values():
            base.journal.sign_and_record(
                Evaluation.read(
                    {
                        "hub": ORIGIN,
                        "signer": HUB,
                        "model": model,
                        "model_payload": "sha256:" + "0" * 64,
                        "suite": suite.id,
                        "suite_payload": suite.payload,
                        "harness": "x",
                        "scores": [
                            {"task": "terms", "metric": "acc", "value": value, "standard_error": 0.1, "items": 9}
                        ],
                        "samples": base.blobs.put(json.dumps([model, suite.id]).encode()),
                        "seconds": 1,
                    }
                )
            )
    with base.database.session() as session:
        board = leaderboard(session)
    law, other = "law-institute-exam/terms", "university-exam/terms"
    rows = {row.model: row for row in board.rows}
    assert list(rows["tiny-1.1"].unranked) == [law]
    assert rows["tiny-1.1"].scores[law].value == 0.9, "shown all the same"
    assert rows["tiny-1.2"].author_shares[law] == pytest.approx(1 / 3)
    assert not rows["tiny-1.2"].unranked
    assert {column.key: column.member for column in board.columns} == {law: "law-institute", other: "university"}
    lines = scores.matrix(board.columns, board.rows)
    shown = {row.model: line for row, line in zip(board.rows, lines, strict=True)}
    assert str(shown["tiny-1.1"][law]).endswith(scores.OWN)
    assert str(shown["tiny-1.2"][law]).endswith(scores.BEST)
    assert str(shown["tiny-1.1"][other]).endswith(scores.BEST)
    assert board.columns[0].reference.startswith("law-institute/law-institute-exam@")
