"""One model under suites, in the worker's process: lm-eval asks for likelihoods and answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lm_eval import evaluator

from hub.evaluation.likelihoods import SharedPromptLM, precision
from hub.evaluation.tasks import SEED, compile_task
from hub.version import code_version
from learning.export import load_model
from learning.grading import MAX_OUTPUT, credit
from learning.scoring import score
from protos.documents.evaluations import Sample
from protos.documents.fields import Row
from protos.documents.suite import Generation, LogLikelihood, MultipleChoice, Task
from protos.documents.suite_files import read_suite, rows_by_task
from trust.errors import Invalid


def harness() -> str:
    """What a score was computed with: all but the model and the suite that it follows from."""
    tools = f"lm-eval {version('lm-eval')}, torch {torch.__version__}, {precision()}"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"{tools}, {device}, seed {SEED}, coalition {code_version()}"


class Scorer:
    """A model, loaded once."""

    def __init__(self, folder: Path) -> None:
        model, tokenizer = load_model(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._lm = SharedPromptLM(pretrained=model.to(device), tokenizer=tokenizer, batch_size=32, device=device)

    def evaluate(self, files: Mapping[str, bytes], name: str) -> list[Sample]:
        """The per-item log of a suite (`name` is its `member/suite@digest`), in its order of tasks and items.

        Raises `Invalid` for what cannot be scored.
        """
        suite = read_suite(files)
        rows = rows_by_task(suite, files)
        full = {task.name: f"{name}:{task.name}" for task in suite.tasks}
        results = self._run(
            {full[task.name]: compile_task(task, rows[task.name], full[task.name]) for task in suite.tasks}
        )
        samples: list[Sample] = []
        for task in suite.tasks:
            found = _samples(task, rows[task.name], results["samples"][full[task.name]])
            _agree(task, found, results["results"][full[task.name]][f"{task.metric},none"])
            samples += found
        return samples

    def _run(self, tasks: Mapping[str, Any]) -> Mapping[str, Any]:
        results: Mapping[str, Any] | None = evaluator.evaluate(
            lm=self._lm,
            task_dict={"tasks": dict(tasks), "groups": {}, "group_map": {}},
            bootstrap_iters=0,
            log_samples=True,
            verbosity="ERROR",
        )
        if results is None:
            raise RuntimeError("lm-eval answered nothing")
        return results


def _samples(task: Task, rows: Sequence[Row], logged: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """The per-item log, in the order of the rows."""
    return [
        _sample(task, int(item["doc_id"]), rows[int(item["doc_id"])], item["filtered_resps"])
        for item in sorted(logged, key=lambda entry: int(entry["doc_id"]))
    ]


def _sample(task: Task, number: int, row: Row, responses: Sequence[Any]) -> Sample:
    found = dict[str, Any](task=task.name, item=number)
    match task:
        case Generation():
            output = str(responses[0])[:MAX_OUTPUT]
            check = task.check.model_dump(by_alias=True, exclude_none=True)
            return Sample(**found, credit=credit(check, output, row), output=output)
        case MultipleChoice():
            likelihoods = [float(likelihood) for likelihood, _ in responses]
            found |= dict[str, Any](lengths=tuple(len(choice) for choice in row[task.choices]), answer=row[task.answer])
        case LogLikelihood():
            likelihoods = [float(responses[0][0])]
            found |= dict[str, Any](lengths=(len(f" {row[task.target]}".encode()),), credit=float(responses[0][1]))
        case _:
            likelihoods = [float(value) for value in responses]
            found |= dict[str, Any](lengths=(len(row[task.text].encode()),))
    if not all(map(math.isfinite, likelihoods)):
        raise Invalid(f"The model's likelihoods of item {number} of {task.name} are not finite numbers.")
    return Sample(**found, log_likelihoods=tuple(likelihoods))


def _agree(task: Task, samples: Sequence[Sample], theirs: float) -> None:
    """The score that anyone can recompute from the log must be lm-eval's."""
    ours = score(task.metric, samples)
    if not math.isclose(ours.value, theirs, abs_tol=1e-9):
        raise RuntimeError(f"our {task.metric} {ours.value} of {task.name} is not lm-eval's {theirs}")
