"""The evaluation suite format: `suite.json`, declarative and closed. No YAML, no templates beyond `{field}`, no code.

Its JSON Schema is published as `eval_suites/suite.schema.json` (a test keeps the two equal).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from protos.documents.base import Document, Licence, Name, Text
from protos.documents.checks import Check, check_target
from protos.documents.fields import FieldName, Row, text_of
from trust.errors import Invalid

DataFile = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,60}\.jsonl$")]
TaskName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{1,39}$")]
Stop = Annotated[str, StringConstraints(min_length=1, max_length=32)]
Template = Annotated[str, StringConstraints(min_length=1, max_length=2000)]

MAX_TEXT = 1 << 20
MAX_CHOICES = 20
MAX_NEW_TOKENS = 512

_BRACES = re.compile(r"\{([^{}]*)\}")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}")


def placeholders(template: str) -> tuple[str, ...]:
    """The field names that a template asks for, in order."""
    return tuple(_BRACES.findall(template))


def fill(template: str, row: Row) -> str:
    """The template with each `{field}` replaced once, by position: what a field holds is never looked at again."""
    parts, rest = [], template
    for name in placeholders(template):
        before, _, rest = rest.partition("{" + name + "}")
        parts += [before, str(row[name])]
    return "".join([*parts, rest])


class _Prompted(Document):
    """What every task with a prompt has; `fewshot` answered examples from the task's own data stand before it."""

    prompt: Template
    fewshot: int = Field(default=0, ge=0, le=8)

    @model_validator(mode="after")
    def _plain_placeholders(self) -> _Prompted:
        if bad := [name for name in placeholders(self.prompt) if not _FIELD.fullmatch(name)]:
            raise ValueError(f"placeholder {{{bad[0]}}} is not a plain field name")
        return self


class MultipleChoice(_Prompted):
    """One right answer among strings; scored by the likelihood of each choice after the prompt."""

    name: TaskName
    kind: Literal["multiple_choice"]
    data: DataFile
    choices: FieldName = "choices"
    answer: FieldName = "answer"
    metric: Literal["acc", "acc_norm"] = "acc"


class LogLikelihood(_Prompted):
    """How well the model predicts a target after the prompt: in bits per byte of the target (lower is better), or how often
    greedy decoding would say just that."""

    name: TaskName
    kind: Literal["log_likelihood"]
    data: DataFile
    target: FieldName = "target"
    metric: Literal["bits_per_byte", "greedy_match"] = "bits_per_byte"


class Perplexity(Document):
    """How well the model predicts whole texts, in bits per byte (lower is better)."""

    name: TaskName
    kind: Literal["perplexity"]
    data: DataFile
    text: FieldName = "text"
    metric: Literal["bits_per_byte"] = "bits_per_byte"


class Generation(_Prompted):
    """What the model says after the prompt, greedily, until a stop string or `max_tokens`; `check` gives it its credit."""

    name: TaskName
    kind: Literal["generation"]
    data: DataFile
    max_tokens: int = Field(default=64, ge=1, le=MAX_NEW_TOKENS)
    stop: tuple[Stop, ...] = Field(default=("\n",), max_length=8)
    check: Check

    @model_validator(mode="after")
    def _examples_have_answers(self) -> Generation:
        if self.fewshot and getattr(self.check, "target", None) is None:
            raise ValueError("examples need a check with a target to answer them")
        return self

    @property
    def metric(self) -> str:
        return self.check.metric


Task = Annotated[MultipleChoice | LogLikelihood | Perplexity | Generation, Field(discriminator="kind")]


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


def check_row(task: Task, row: Mapping[str, Any]) -> None:
    """That a row of a task's data holds what the task asks for. Raises `Invalid`."""
    if isinstance(task, Perplexity):
        text_of(row, task.text, MAX_TEXT)
        return
    for name in placeholders(task.prompt):
        text_of(row, name, MAX_TEXT)
    if isinstance(task, Generation):
        check_target(task.check, row)
    elif isinstance(task, LogLikelihood):
        text_of(row, task.target, MAX_TEXT)
    else:
        _check_choices(task, row)


def _check_choices(task: MultipleChoice, row: Row) -> None:
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
