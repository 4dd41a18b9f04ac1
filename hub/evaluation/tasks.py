"""A suite as lm-eval tasks: in memory, from plain data, with callables of ours. Nothing of a suite is executed.

Task names are `member/suite@digest:task`, so that no suite can take the name of another's, or of one that lm-eval ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from learning.grading import credit
from protos.documents.fields import Row
from protos.documents.suite import Generation, LogLikelihood, MultipleChoice, Perplexity, Task, fill

SEED = 1234


def compile_task(task: Task, rows: Sequence[Row], name: str) -> ConfigurableTask:
    """One task under `name`. `rows` were checked with `check_row` before."""
    compiled = ConfigurableTask(config={**_config(task, rows), "task": name, "metadata": {"version": 1}})
    compiled.set_fewshot_seed(SEED)  # without one, every evaluation would draw other examples
    return compiled


def _config(task: Task, rows: Sequence[Row]) -> dict[str, Any]:
    match task:
        case Perplexity():
            return _perplexity(task, rows)
        case LogLikelihood():
            return _log_likelihood(task, rows)
        case Generation():
            return _generation(task, rows)
    return _multiple_choice(task, rows)


def _multiple_choice(task: MultipleChoice, rows: Sequence[Row]) -> dict[str, Any]:
    docs = [
        {"prompt": fill(task.prompt, row), "options": list(row[task.choices]), "answer": row[task.answer]}
        for row in rows
    ]
    return {
        **_prompted(docs, task.fewshot),
        "output_type": "multiple_choice",
        "doc_to_choice": lambda doc: doc["options"],
        "doc_to_target": lambda doc: doc["answer"],
        "metric_list": [{"metric": task.metric, "aggregation": "mean", "higher_is_better": True}],
    }


def _log_likelihood(task: LogLikelihood, rows: Sequence[Row]) -> dict[str, Any]:
    """lm-eval puts no delimiter before the target of such a task (but in examples), so the space is ours."""
    docs = [{"prompt": fill(task.prompt, row), "target": f" {row[task.target]}"} for row in rows]
    return {
        **_prompted(docs, task.fewshot),
        "output_type": "loglikelihood",
        "target_delimiter": "",
        "doc_to_target": lambda doc: doc["target"],
        **(
            _own_metric(
                "bits_per_byte", lambda doc, results: (results[0][0], len(doc["target"].encode())), "bits_per_byte"
            )
            if task.metric == "bits_per_byte"
            else _own_metric(task.metric, lambda doc, results: float(results[0][1]))
        ),
    }


def _generation(task: Generation, rows: Sequence[Row]) -> dict[str, Any]:
    check = task.check.model_dump(by_alias=True, exclude_none=True)
    docs = [{"prompt": fill(task.prompt, row), "target": _shown(task, row), "row": i} for i, row in enumerate(rows)]
    return {
        **_prompted(docs, task.fewshot),
        "output_type": "generate_until",
        "doc_to_target": lambda doc: doc["target"],
        "generation_kwargs": {"until": list(task.stop), "max_gen_toks": task.max_tokens, "do_sample": False},
        **_own_metric(task.metric, lambda doc, results: credit(check, results[0], rows[doc["row"]])),
    }


def _perplexity(task: Perplexity, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        **_data([{"text": row[task.text]} for row in rows]),
        "output_type": "loglikelihood_rolling",
        "doc_to_text": lambda doc: "",
        "doc_to_target": lambda doc: doc["text"],
        "num_fewshot": 0,
        "metric_list": [{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}],
    }


def _prompted(docs: list[dict[str, Any]], fewshot: int) -> dict[str, Any]:
    prompt = {"doc_to_text": lambda doc: doc["prompt"]}
    return {**_data(docs), **prompt, "num_fewshot": fewshot, "fewshot_split": "test"}


def _data(docs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"custom_dataset": lambda **_: {"test": Dataset.from_list(docs)}, "test_split": "test"}


def _own_metric(name: str, value: Any, aggregation: str = "mean") -> dict[str, Any]:
    """A metric that lm-eval only aggregates; it never looks the name up."""
    metric = {"metric": name, "aggregation": aggregation, "higher_is_better": True}
    return {"process_results": lambda doc, results: {name: value(doc, results)}, "metric_list": [metric]}


def _shown(task: Generation, row: Row) -> str:
    """What an example says after its prompt."""
    name = getattr(task.check, "target", None)
    target = row[name] if name else ""
    return str(target[0] if isinstance(target, list) else target)
