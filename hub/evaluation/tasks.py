"""A suite as lm-eval tasks: in memory, from plain data, with callables of ours. Nothing of a suite is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from protos.documents.suite import MultipleChoice, Perplexity, placeholders

Row = Mapping[str, Any]
SEED = 1234


def compile_task(task: MultipleChoice | Perplexity, rows: Sequence[Row], name: str) -> ConfigurableTask:
    """One task under `name`. `rows` were checked with `check_row` before."""
    config = _perplexity(task, rows, name) if isinstance(task, Perplexity) else _multiple_choice(task, rows, name)
    compiled = ConfigurableTask(config=config)
    compiled.set_fewshot_seed(SEED)  # without one, every evaluation would draw other examples
    return compiled


def _multiple_choice(task: MultipleChoice, rows: Sequence[Row], name: str) -> dict[str, Any]:
    docs = [
        {"prompt": _fill(task.prompt, row), "options": list(row[task.choices]), "answer": row[task.answer]}
        for row in rows
    ]
    return {
        **_common(docs, name),
        "output_type": "multiple_choice",
        "doc_to_text": lambda doc: doc["prompt"],
        "doc_to_choice": lambda doc: doc["options"],
        "doc_to_target": lambda doc: doc["answer"],
        "num_fewshot": task.fewshot,
        "fewshot_split": "test",
        "metric_list": [{"metric": task.metric, "aggregation": "mean", "higher_is_better": True}],
    }


def _perplexity(task: Perplexity, rows: Sequence[Row], name: str) -> dict[str, Any]:
    return {
        **_common([{"text": row[task.text]} for row in rows], name),
        "output_type": "loglikelihood_rolling",
        "doc_to_text": lambda doc: "",
        "doc_to_target": lambda doc: doc["text"],
        "num_fewshot": 0,
        "metric_list": [{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
    }


def _common(docs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return {
        "task": name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(docs)},
        "test_split": "test",
        "metadata": {"version": 1},
    }


def _fill(template: str, row: Row) -> str:
    """The template with each `{field}` replaced once, by position: what a field holds is never looked at again."""
    parts, rest = [], template
    for name in placeholders(template):
        before, _, rest = rest.partition("{" + name + "}")
        parts += [before, str(row[name])]
    return "".join([*parts, rest])
