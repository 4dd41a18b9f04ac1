"""Whether a per-item log is of a suite's items: what a party checks that has the suite, and does not know what the model said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from protos.documents.evaluations import Sample
from protos.documents.suite import Generation, LogLikelihood, MultipleChoice, Perplexity, Task
from protos.documents.suite_files import read_suite, task_rows

Credit = Callable[[Mapping[str, Any], str, Mapping[str, Any]], float]
"""What an answer is worth by a check and an item's row: `learning.grading.credit`."""


def regraded(files: Mapping[str, bytes], samples: Sequence[Sample], credit: Credit) -> Iterator[str]:
    """Where the log is not of the suite's items, or gives an answer another credit than its check does."""
    suite = read_suite(files)
    for task in suite.tasks:
        rows = task_rows(task, files[task.data])
        items = [sample for sample in samples if sample.task == task.name]
        if [item.item for item in items] != list(range(len(rows))):
            yield f"The log does not have every item of {task.name} once."
            continue
        wrong = [item.item for item, row in zip(items, rows, strict=True) if not _fits(task, item, row, credit)]
        if wrong:
            yield f"The log of {task.name} does not fit the suite at item {wrong[0]} (and {len(wrong) - 1} more)."


def _fits(task: Task, sample: Sample, row: Mapping[str, object], credit: Credit) -> bool:
    match task:
        case MultipleChoice():
            choices = row[task.choices]
            lengths = tuple(len(choice) for choice in choices) if isinstance(choices, list) else ()
            whole = len(sample.log_likelihoods) == len(lengths)
            return whole and sample.answer == row[task.answer] and sample.lengths == lengths
        case Perplexity():
            return _of_one_text(sample, str(row[task.text]))
        case LogLikelihood():
            return _of_one_text(sample, f" {row[task.target]}")
        case Generation() if sample.output is not None:
            check = task.check.model_dump(by_alias=True, exclude_none=True)
            return sample.credit == credit(check, sample.output, row)
    return True


def _of_one_text(sample: Sample, text: str) -> bool:
    """One likelihood, divided by the bytes that the text has."""
    return len(sample.log_likelihoods) == 1 and sample.lengths == (len(text.encode()),)
