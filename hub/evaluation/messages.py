"""What the hub and its evaluation worker say to each other: one JSON object a line, in closed schemas."""

from __future__ import annotations

from pydantic import Field

from protos.documents.base import Document, Identifier
from protos.documents.evaluations import TaskScore


class SuiteFolder(Document):
    """A suite to evaluate with: where its files lie, and where the per-item log goes."""

    id: Identifier
    folder: str
    samples: str


class Job(Document):
    """A model, loaded once, under suites in this order."""

    model: Identifier
    folder: str
    suites: tuple[SuiteFolder, ...] = Field(min_length=1)


class Answer(Document):
    """One suite's scores, or why there are none."""

    suite: Identifier
    scores: tuple[TaskScore, ...] = ()
    failure: str = Field(default="", max_length=2000)
    seconds: float = Field(ge=0)


class Word(Document):
    """What the worker says between answers: `ready` once, with what it computes with; for each job `loaded` and `done`."""

    ready: str = ""
    loaded: str = ""
    done: str = ""
