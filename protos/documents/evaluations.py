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
    """One line of the per-item log: the natural-log likelihood and bytes of each continuation, from which every metric follows."""

    task: str
    item: int
    log_likelihoods: tuple[float, ...]
    bytes: tuple[int, ...]
    answer: int | None = None
