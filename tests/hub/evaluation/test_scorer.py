"""Scores of a real model under a real suite: lm-eval's, ours from the log, and the learning room's must be one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM

from hub.evaluation import likelihoods
from hub.evaluation.outputs import scores_of
from hub.evaluation.scorer import Scorer
from hub.evaluation.tasks import compile_task
from learning import evaluation
from learning.export import load_model
from learning.grading import f1
from learning.scoring import score
from protos.documents.evaluations import Sample, TaskScore
from protos.documents.suite import SuiteFormat
from protos.documents.suite_files import read_suite
from tests.hub.evaluation.conftest import (
    CHOICE,
    CONTEXT,
    TASKS,
    choice_rows,
    recall_rows,
    suite_files,
    text_rows,
)
from trust.errors import Invalid

NAME = "law-institute/law-exam@0123456789ab"


def scored(scorer: Scorer, files: dict[str, bytes]) -> tuple[tuple[TaskScore, ...], list[Sample]]:
    samples = scorer.evaluate(files, NAME)
    return scores_of(read_suite(files), samples), samples


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihoods, "precision", lambda: "float32")


@pytest.mark.usefixtures("exact")
def test_the_scores_are_those_of_lm_evals_own_model(model_folder: Path) -> None:
    scores, _ = scored(Scorer(model_folder), suite_files())
    model, tokenizer = load_model(model_folder)
    suite = SuiteFormat.model_validate_json(suite_files()["suite.json"])
    by_file = {"terms.jsonl": choice_rows(), "reading.jsonl": text_rows(), "recall.jsonl": recall_rows()}
    rows = {task.name: by_file[task.data] for task in suite.tasks}
    tasks = {task.name: compile_task(task, rows[task.name], task.name) for task in suite.tasks}
    theirs = evaluator.evaluate(
        lm=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu"),
        task_dict={"tasks": tasks, "groups": {}, "group_map": {}},
        bootstrap_iters=2,
    )
    assert theirs is not None
    for found in scores:
        results = theirs["results"][found.task]
        assert found.value == pytest.approx(results[f"{found.metric},none"], rel=1e-6)
        if not found.metric.startswith("bits"):
            assert found.standard_error == pytest.approx(results[f"{found.metric}_stderr,none"])
    assert [found.task for found in scores] == ["terms", "plain", "reading", "recall", "parrot", "say"]


def test_anyone_recomputes_the_scores_from_the_log(model_folder: Path) -> None:
    scores, samples = scored(Scorer(model_folder), suite_files())
    for found in scores:
        items = [sample for sample in samples if sample.task == found.task]
        again = score(found.metric, items)
        assert (again.value, again.standard_error) == (found.value, found.standard_error)
        assert (again.items, again.baseline) == (found.items, found.baseline)
    logged = "".join(sample.model_dump_json() for sample in samples if sample.output is None)
    assert not any(word in logged for word in ("heart", "licence", "This is"))


def test_an_answer_is_logged_with_what_it_is_worth(model_folder: Path) -> None:
    _, samples = scored(Scorer(model_folder), suite_files(tasks=TASKS[5:]))
    for sample, row in zip(samples, recall_rows(), strict=True):
        assert sample.output is not None
        assert " while" not in sample.output
        assert sample.credit == f1(sample.output, row["target"])
    assert len({sample.output for sample in samples}) > 1


@pytest.mark.usefixtures("exact")
def test_bits_per_byte_are_those_of_the_learning_room(model_folder: Path) -> None:
    scores, _ = scored(Scorer(model_folder), suite_files(tasks=TASKS[2:3]))
    model, tokenizer = load_model(model_folder)
    texts = [row["text"] for row in text_rows()]
    nats, size = evaluation.bits_per_byte(model, tokenizer, texts, max_length=CONTEXT + 1, stride=CONTEXT)
    assert scores[0].value == pytest.approx(evaluation.to_bits_per_byte(nats, size), rel=1e-5)
    assert scores[0].items == len(texts)


def test_bf16_products_cost_far_less_than_a_standard_error(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        monkeypatch.setattr(likelihoods, "precision", lambda name=precision: name)
        found.append(scored(Scorer(model_folder), suite_files(tasks=TASKS[2:3]))[0][0])
    assert abs(found[0].value - found[1].value) < found[0].standard_error / 10


def test_a_model_that_only_knows_nan_has_no_score(model_folder: Path) -> None:
    scorer = Scorer(model_folder)
    with torch.no_grad():
        scorer._lm.model.lm_head.weight.fill_(math.nan)
    with pytest.raises(Invalid, match="not finite"):
        scorer.evaluate(suite_files(), NAME)


def test_a_suite_that_breaks_its_own_rules_is_refused(model_folder: Path) -> None:
    scorer = Scorer(model_folder)
    good = suite_files(tasks=[{"name": "terms", "data": "terms.jsonl", **CHOICE}])
    for body, reason in [
        (b"", "no items"),
        (json.dumps({"text": "x", "choices": ["a"], "answer": 0}).encode() + b"\n", "line 1"),
        (b"not json\n", "line 1"),
    ]:
        with pytest.raises(Invalid, match=reason):
            scorer.evaluate({**good, "terms.jsonl": body}, NAME)
