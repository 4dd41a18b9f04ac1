"""The evaluation suite format: `suite.json`, declarative and closed. No YAML, no templates beyond `{field}`, no code.

Its JSON Schema is published as `eval_suites/suite.schema.json` (a test keeps the two equal).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from protos.documents.base import Document, Licence, Name, Text
from trust.errors import Invalid

DataFile = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,60}\.jsonl$")]
FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
TaskName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{1,39}$")]

MAX_TEXT = 1 << 20
MAX_CHOICES = 20

_BRACES = re.compile(r"\{([^{}]*)\}")
_FIELD = re.compile(r"^[a-z][a-z0-9_]{0,39}$")


def placeholders(template: str) -> tuple[str, ...]:
    """The field names that a template asks for, in order."""
    return tuple(_BRACES.findall(template))


class MultipleChoice(Document):
    """One right answer among strings; scored by the likelihood of each choice after the prompt."""

    name: TaskName
    kind: Literal["multiple_choice"]
    data: DataFile
    prompt: str = Field(min_length=1, max_length=2000)
    choices: FieldName = "choices"
    answer: FieldName = "answer"
    metric: Literal["acc", "acc_norm"] = "acc"
    fewshot: int = Field(default=0, ge=0, le=8)

    @model_validator(mode="after")
    def _plain_placeholders(self) -> MultipleChoice:
        if bad := [name for name in placeholders(self.prompt) if not _FIELD.match(name)]:
            raise ValueError(f"placeholder {{{bad[0]}}} is not a plain field name")
        return self


class Perplexity(Document):
    """How well the model predicts whole texts, in bits per byte (lower is better)."""

    name: TaskName
    kind: Literal["perplexity"]
    data: DataFile
    text: FieldName = "text"
    metric: Literal["bits_per_byte"] = "bits_per_byte"


Task = Annotated[MultipleChoice | Perplexity, Field(discriminator="kind")]


class SuiteFormat(Document):
    """The whole of `suite.json`."""

    format: Literal["coalition-suite/v1"]
    name: Name
    version: str = Field(pattern=r"^[0-9A-Za-z.-]{1,20}$")
    domain: Name
    licence: Licence
    description: Text
    tasks: tuple[Task, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _unique_tasks(self) -> SuiteFormat:
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError("two tasks share a name")
        return self


def check_row(task: MultipleChoice | Perplexity, row: Mapping[str, Any]) -> None:
    """That a row of a task's data holds what the task asks for. Raises `Invalid`."""
    if isinstance(task, Perplexity):
        _text(row, task.text)
        return
    for name in placeholders(task.prompt):
        _text(row, name)
    choices = row.get(task.choices)
    if not isinstance(choices, list) or not 2 <= len(choices) <= MAX_CHOICES:
        raise Invalid(f"`{task.choices}` is not a list of 2 to {MAX_CHOICES} texts.", field=task.choices)
    if not all(isinstance(choice, str) and 0 < len(choice) <= MAX_TEXT for choice in choices):
        raise Invalid(f"`{task.choices}` holds something that is not a text.", field=task.choices)
    if len(set(choices)) != len(choices):
        raise Invalid(f"`{task.choices}` holds the same text twice.", field=task.choices)
    answer = row.get(task.answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise Invalid(f"`{task.answer}` is not the position of a choice, counted from 0.", field=task.answer)


def _text(row: Mapping[str, Any], name: str) -> None:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise Invalid(f"`{name}` is not a text of at most {MAX_TEXT} characters.", field=name)
