"""Scores: signed by the hub, with the digest of the per-item log they were computed from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from protos.documents.base import Claim, DigestText, Document, Identifier


class TaskScore(Document):
    """One task's primary metric. `baseline` is what guessing gets, where there is such a thing."""

    task: str
    metric: Literal["acc", "acc_norm", "bits_per_byte"]
    value: float
    standard_error: float = Field(ge=0)
    items: int = Field(ge=1)
    baseline: float | None = None


class Evaluation(Claim):
    """A model under a suite. Both payload digests pin exactly what was evaluated; a failure has a reason and no scores."""

    model: Identifier
    model_payload: DigestText
    suite: Identifier
    suite_payload: DigestText
    harness: str
    scores: tuple[TaskScore, ...] = ()
    failure: str = Field(default="", max_length=2000)
    samples: DigestText | None = None
    seconds: float = Field(ge=0)


class Sample(Document):
    """One line of the per-item log, from which every metric follows: natural-log likelihoods of what could be said.

    `lengths` are what a metric divides by: characters of each choice, or UTF-8 bytes of a text. `answer` is the right choice.
    """

    task: str
    item: int = Field(ge=0)
    log_likelihoods: tuple[float, ...] = Field(min_length=1)
    lengths: tuple[int, ...] = Field(min_length=1)
    answer: int | None = None
