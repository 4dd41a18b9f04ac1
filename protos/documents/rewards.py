"""How a member says what a completion is worth: a closed policy, which `learning.rewards` carries out. No code, no templates.

It is to the answers of a model in training what a suite's checks are to those of an evaluation, and has these among its rules.
The rows that it judges answers to are tasks (`protos.formats.tasks`), whose fields its rules name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from protos.documents.base import Document, Name, Text
from protos.documents.checks import F1, Exact, JsonSchema, Numeric, Regex, check_target
from protos.documents.fields import FieldName, Row, text_of
from trust.canonical import emit
from trust.errors import Invalid

MAX_POLICY = 256 << 10
"""Bytes of a policy as canonical JSON: every site that consents to a campaign keeps those it names."""
MAX_SOURCES = 100
Phrase = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Term = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"\w")]


class Contains(Document):
    """All (or any) of the texts stand in the completion, whatever their case."""

    how: Literal["contains"]
    texts: tuple[Phrase, ...] = Field(min_length=1, max_length=100)
    which: Literal["all", "any"] = "all"


class Forbidden(Document):
    """None of the terms stands in the completion as whole words, whatever their case."""

    how: Literal["forbidden"]
    terms: tuple[Term, ...] = Field(min_length=1, max_length=1000)


class Length(Document):
    """The completion has `least` to `most` words or characters."""

    how: Literal["length"]
    unit: Literal["characters", "words"] = "words"
    least: int = Field(default=0, ge=0, le=1_000_000)
    most: int = Field(ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _possible(self) -> Length:
        if self.least > self.most:
            raise ValueError("the least length is above the most")
        return self


class Citation(Document):
    """The completion names at least `least` different sources as [name], and none that the row's field does not list."""

    how: Literal["citation"]
    sources: FieldName = "sources"
    least: int = Field(default=1, ge=0, le=MAX_SOURCES)


RewardCheck = Annotated[
    Exact | F1 | Numeric | Regex | JsonSchema | Contains | Forbidden | Length | Citation, Field(discriminator="how")
]


class Rule(Document):
    """`weight` is its part of the reward. A `required` rule that gives nothing makes the whole reward nothing."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{1,39}$")]
    check: RewardCheck
    weight: float = Field(default=1, ge=0, le=1000)
    required: bool = False


class RewardPolicy(Document):
    """What a member wants of a model's completions, to be submitted and signed by it."""

    format: Literal["coalition-reward/v1"]
    name: Name
    description: Text
    rules: tuple[Rule, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _weighs(self) -> RewardPolicy:
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("two rules share a name")
        if not any(rule.weight for rule in self.rules):
            raise ValueError("no rule has a weight")
        if len(emit(self.model_dump(mode="json"))) > MAX_POLICY:
            raise ValueError(f"the policy has more than {MAX_POLICY} bytes")
        return self


class Rewarded(Document):
    """What a round of learning from rewards came to at a site. The mean reward of completions, from 0 to 1, over the first tenth
    of the round and the last; over the last tenth, nats per token (the KL divergence) from the model that the round began
    with, and the mean length in tokens."""

    first: float = Field(ge=0, le=1)
    last: float = Field(ge=0, le=1)
    divergence: float = Field(ge=0, le=1000)
    length: float = Field(ge=0, le=1 << 20)


def check_reward_row(policy: RewardPolicy, row: Row) -> None:
    """That a row has all that the rules ask for. Raises `Invalid`."""
    for rule in policy.rules:
        if isinstance(rule.check, Citation):
            _check_sources(rule.check.sources, row)
        elif isinstance(rule.check, Exact | F1 | Numeric | Regex | JsonSchema):
            check_target(rule.check, row)


def _check_sources(name: str, row: Row) -> None:
    sources = row.get(name)
    if not isinstance(sources, list) or not 1 <= len(sources) <= MAX_SOURCES:
        raise Invalid(f"`{name}` is not a list of 1 to {MAX_SOURCES} names of sources.", field=name)
    for source in sources:
        text_of({name: source}, name, 60)
