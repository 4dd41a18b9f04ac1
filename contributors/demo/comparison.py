"""Two models on the same texts and questions: what changed, with its paired error, from the public per-item logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from contributors.client import Coalition
from learning.scoring import accuracy, mean, ratio
from protos.coalition.v1 import evaluation_pb2
from protos.documents.evaluations import MAX_LOG, Sample, read_log


@dataclass(frozen=True)
class Change:
    """From `before` to `after`; `error` is the standard error of their difference: bits per byte of a domain's texts, or the
    share of a task's questions that are answered rightly."""

    domain: str
    before: float
    after: float
    error: float


def changes(hub: Coalition, first: str, last: str) -> list[Change]:
    """One per suite and text task that both models were scored on."""
    domains = {suite.id: suite.domain for suite in hub.submissions("suite")}
    found = []
    old, new = _logs(hub, first), _logs(hub, last)
    for suite in sorted(old.keys() & new.keys(), key=lambda identifier: domains[identifier]):
        found.append(Change(domains[suite], *compare(old[suite], new[suite])))
    return found


def answers(hub: Coalition, first: str, last: str, domain: str) -> list[Change]:
    """One per task with choices, of the suites of a domain that both models were scored on."""
    suites = {suite.id for suite in hub.submissions("suite") if suite.domain == domain}
    found = []
    old, new = (
        {each.suite: each for each in hub.evaluations(model).evaluations if each.suite in suites}
        for model in (first, last)
    )
    for suite in sorted(old.keys() & new.keys()):
        before, after = _right(hub, old[suite]), _right(hub, new[suite])
        for task in before:
            change, error = mean([b - a for a, b in zip(before[task], after[task], strict=True)])
            share, _ = mean(before[task])
            found.append(Change(task, share, share + change, error))
    return found


def _right(hub: Coalition, evaluation: evaluation_pb2.Evaluation) -> dict[str, list[float]]:
    """By task with choices: 1 for every item whose answer is the likeliest choice by the task's own metric, else 0."""
    metrics = {score.task: score.metric for score in evaluation.scores}
    found: dict[str, list[float]] = {}
    for sample in sorted(_samples(hub, evaluation), key=lambda sample: sample.item):
        if sample.answer is not None:
            one = ([sample.log_likelihoods], [sample.lengths], [sample.answer])
            right, _ = accuracy(*one, normalised=metrics[sample.task] == "acc_norm")
            found.setdefault(sample.task, []).append(right)
    return found


def compare(old: Sequence[Sample], new: Sequence[Sample]) -> tuple[float, float, float]:
    """(bits per byte before, after, standard error of the difference) over the items that both logs hold."""
    before = {(sample.task, sample.item): sample for sample in old}
    after = {(sample.task, sample.item): sample for sample in new}
    items = sorted(before.keys() & after.keys())
    sizes = [before[item].lengths[0] for item in items]
    first, last = ([-log[item].log_likelihoods[0] / math.log(2) for item in items] for log in (before, after))
    # bits per byte is linear in each text's bits: the paired difference is the score of their differences
    _, error = ratio([b - a for a, b in zip(first, last, strict=True)], sizes)
    return ratio(first, sizes)[0], ratio(last, sizes)[0], error


def _logs(hub: Coalition, model: str) -> dict[str, list[Sample]]:
    """By suite: the samples of texts (those without choices) of a model's evaluations."""
    logs = {}
    for evaluation in hub.evaluations(model).evaluations:
        if evaluation.samples:
            logs[evaluation.suite] = [sample for sample in _samples(hub, evaluation) if sample.answer is None]
    return logs


def _samples(hub: Coalition, evaluation: evaluation_pb2.Evaluation) -> list[Sample]:
    return read_log(hub.blob(evaluation.samples, MAX_LOG))
