"""Two models on the same texts: the change in bits per byte with its paired error, from the public per-item logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from contributors.client import Coalition
from learning.scoring import bits_per_byte
from protos.documents.evaluations import Sample

MAX_LOG = 64 << 20


@dataclass(frozen=True)
class Change:
    """From `before` to `after`; `error` is the standard error of their difference, all in bits per byte."""

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


def compare(old: Sequence[Sample], new: Sequence[Sample]) -> tuple[float, float, float]:
    """(bits per byte before, after, standard error of the difference) over the items that both logs hold."""
    before = {(sample.task, sample.item): sample for sample in old}
    after = {(sample.task, sample.item): sample for sample in new}
    items = sorted(before.keys() & after.keys())
    sizes = [before[item].lengths[0] for item in items]
    first, last = ([log[item].log_likelihoods[0] for item in items] for log in (before, after))
    # bits per byte is linear in the likelihoods: the paired difference is the score of their differences
    _, error = bits_per_byte([b - a for a, b in zip(first, last, strict=True)], sizes)
    return bits_per_byte(first, sizes)[0], bits_per_byte(last, sizes)[0], error


def _logs(hub: Coalition, model: str) -> dict[str, list[Sample]]:
    """By suite: the samples of texts (those without choices) of a model's evaluations."""
    logs = {}
    for evaluation in hub.evaluations(model).evaluations:
        if evaluation.samples:
            lines = hub.blob(evaluation.samples, MAX_LOG).decode().strip().split("\n")
            samples = [Sample.read(json.loads(line)) for line in lines]
            logs[evaluation.suite] = [sample for sample in samples if sample.answer is None]
    return logs
