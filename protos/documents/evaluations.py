"""Scores: signed by the hub, with the digest of the per-item log they were computed from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protos.documents.base import Claim, DigestText, Document, Identifier
from trust.canonical import parse

MAX_LOG = 64 << 20
"""Bytes of a per-item log."""

Metric = Literal[
    "acc",
    "acc_norm",
    "bits_per_byte",
    "greedy_match",
    "exact_match",
    "f1",
    "numeric_match",
    "regex_match",
    "schema_match",
]


class TaskScore(Document):
    """One task's primary metric. `baseline` is what guessing gets, where there is such a thing."""

    task: str
    metric: Metric
    value: float
    standard_error: float = Field(ge=0)
    items: int = Field(ge=1)
    baseline: float | None = None


class Evaluation(Claim):
    """A model under a suite. Both payload digests pin exactly what was evaluated; a failure has a reason and no scores.

    `same_as` is the evaluation of the same files with the same harness whose scores and log these are: nothing was computed.
    `node` says who computed, where it was not the hub itself: a claim, which the log lets anybody check.
    """

    model: Identifier
    model_payload: DigestText
    suite: Identifier
    suite_payload: DigestText
    harness: str
    scores: tuple[TaskScore, ...] = ()
    failure: str = Field(default="", max_length=2000)
    samples: DigestText | None = None
    seconds: float = Field(ge=0)
    same_as: Identifier | None = None
    node: Identifier | None = None


LogLikelihood = Annotated[float, Field(ge=-1e12, le=1e-3)]  # of sums of rounded numbers
Length = Annotated[int, Field(ge=0, le=1 << 40)]


class Sample(Document):
    """One line of the per-item log, from which every metric follows: natural-log likelihoods of what could be said, or what
    the model did say (`output`) and what that is worth (`credit`).

    `lengths` are what a metric divides by: characters of each choice, or UTF-8 bytes of a text. `answer` is the right choice.
    """

    task: str
    item: int = Field(ge=0)
    log_likelihoods: tuple[LogLikelihood, ...] = ()
    lengths: tuple[Length, ...] = ()
    answer: int | None = None
    credit: float | None = Field(default=None, ge=0, le=1)
    output: str | None = Field(default=None, max_length=16_384)


def read_log(log: bytes) -> list[Sample]:
    """A per-item log. Raises `Invalid` for what is not one."""
    return [Sample.read(parse(line)) for line in log.splitlines()]
