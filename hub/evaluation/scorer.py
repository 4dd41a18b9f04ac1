"""One model under suites, in the worker's process: lm-eval computes likelihoods, `learning.scoring` the scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM

from hub.evaluation.tasks import Row, compile_task, read_suite
from learning.export import load_model
from learning.scoring import accuracy, bits_per_byte, guessing
from protos.documents.suite import MultipleChoice, Perplexity, check_row

BATCH = 32
Task = MultipleChoice | Perplexity


class Scorer:
    """A model, loaded once. Computes in fp32, so that scores do not hang on the batch (likelihoods agree to 1e-5)."""

    def __init__(self, folder: Path) -> None:
        model, tokenizer = load_model(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._lm = HFLM(pretrained=model.to(device), tokenizer=tokenizer, batch_size=BATCH, device=device)

    def evaluate(self, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """(scores, samples) as the JSON of TaskScore and Sample documents, in the suite's order of tasks."""
        suite = read_suite(folder)
        rows = {task.name: _rows(task, folder / task.data) for task in suite.tasks}
        compiled = {task.name: compile_task(task, rows[task.name], task.name) for task in suite.tasks}
        results = evaluator.evaluate(
            lm=self._lm,
            task_dict={"tasks": compiled, "groups": {}, "group_map": {}},
            bootstrap_iters=0,
            log_samples=True,
            verbosity="ERROR",
        )
        if results is None:
            raise RuntimeError("lm-eval answered nothing")
        scores: list[dict[str, Any]] = []
        samples: list[dict[str, Any]] = []
        for task in suite.tasks:
            found = _samples(task, rows[task.name], results["samples"][task.name])
            score = _score(task, found)
            theirs = results["results"][task.name][f"{task.metric},none"]
            if not math.isclose(score["value"], theirs, abs_tol=1e-9):
                raise RuntimeError(f"our {task.metric} {score['value']} is not lm-eval's {theirs}")
            scores.append(score)
            samples += found
        return scores, samples


def _rows(task: Task, path: Path) -> list[Row]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    for row in rows:
        check_row(task, row)
    return rows


def _samples(task: Task, rows: Sequence[Row], logged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The per-item log, in the order of the rows."""
    samples = []
    for item in sorted(logged, key=lambda entry: int(entry["doc_id"])):
        row, responses = rows[int(item["doc_id"])], item["filtered_resps"]
        sample: dict[str, Any] = {"task": task.name, "item": int(item["doc_id"])}
        if isinstance(task, MultipleChoice):
            sample["log_likelihoods"] = [float(likelihood) for likelihood, _ in responses]
            sample["lengths"] = [len(choice) for choice in row[task.choices]]
            sample["answer"] = row[task.answer]
        else:
            sample["log_likelihoods"] = [float(value) for value in responses]
            sample["lengths"] = [len(row[task.text].encode())]
        samples.append(sample)
    return samples


def _score(task: Task, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    likelihoods, lengths = [s["log_likelihoods"] for s in samples], [s["lengths"] for s in samples]
    baseline: float | None = None
    if isinstance(task, MultipleChoice):
        answers = [sample["answer"] for sample in samples]
        value, error = accuracy(likelihoods, lengths, answers, normalised=task.metric == "acc_norm")
        baseline = guessing([len(values) for values in likelihoods])
    else:
        value, error = bits_per_byte([values[0] for values in likelihoods], [sizes[0] for sizes in lengths])
    return {
        "task": task.name,
        "metric": task.metric,
        "value": value,
        "standard_error": error,
        "items": len(samples),
        "baseline": baseline,
    }
