"""How a suite says what a generated answer is worth: closed descriptions, which `learning.grading` carries out.

A regular expression is RE2's: it runs in time linear in the text, whatever the pattern (Cox, "Regular Expression Matching
in the Wild", 2010). A JSON Schema is a small closed part of draft 2020-12, without references and patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic.alias_generators import to_camel

from protos.documents.base import Document
from protos.documents.fields import FieldName, Row, text_of
from trust.errors import Invalid

MAX_TARGET = 2000
MAX_TARGETS = 20
MAX_NUMBER = 1e300
MAX_SHAPES = 100
MAX_DEPTH = 6
MAX_PATTERN_MEMORY = 1 << 20
PropertyName = Annotated[str, StringConstraints(min_length=1, max_length=60)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Exact(Document):
    """The answer is the target, or one of them; `squad` compares without case, punctuation and articles."""

    metric: ClassVar[str] = "exact_match"
    how: Literal["exact"]
    target: FieldName = "target"
    normalise: Literal["none", "squad"] = "none"


class F1(Document):
    """Words that the answer and the target (the best of them) have in common, as SQuAD counts them."""

    metric: ClassVar[str] = "f1"
    how: Literal["f1"]
    target: FieldName = "target"


class Numeric(Document):
    """A number in the answer is the target's, but for `absolute` or `relative` (to the target) of tolerance."""

    metric: ClassVar[str] = "numeric_match"
    how: Literal["numeric"]
    target: FieldName = "target"
    which: Literal["first", "last"] = "last"
    absolute: float = Field(default=0, ge=0)
    relative: float = Field(default=1e-9, ge=0, le=1)


class Regex(Document):
    """The pattern is found in the answer; with a `target`, its first group (or all of the match) must be that text."""

    metric: ClassVar[str] = "regex_match"
    how: Literal["regex"]
    pattern: str = Field(min_length=1, max_length=200)
    target: FieldName | None = None

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        import re2

        options = re2.Options()
        options.log_errors = False
        options.max_mem = MAX_PATTERN_MEMORY
        try:
            re2.compile(pattern, options)
        except re2.error as error:
            raise ValueError(f"the pattern is not one of RE2: {str(error)[:100]}") from None
        return pattern


class Shape(Document):
    """A value that is asked for: a part of JSON Schema."""

    model_config = ConfigDict(alias_generator=to_camel, serialize_by_alias=True)

    type: Literal["object", "array", "string", "number", "integer", "boolean", "null"]
    properties: dict[PropertyName, Shape] = Field(default_factory=dict, max_length=50)
    required: tuple[PropertyName, ...] = Field(default=(), max_length=50)
    additional_properties: bool = True
    items: Shape | None = None
    min_items: Count | None = None
    max_items: Count | None = None
    min_length: Count | None = None
    max_length: Count | None = None
    minimum: float | None = None
    maximum: float | None = None
    enum: tuple[str | bool | int | float | None, ...] | None = Field(default=None, min_length=1, max_length=100)

    def nested(self, depth: int = 1) -> Iterator[int]:
        """The depth of every shape in it, its own first."""
        yield depth
        for inner in [*self.properties.values(), *([self.items] if self.items else [])]:
            yield from inner.nested(depth + 1)


class JsonSchema(Document):
    """The answer is a JSON text of this shape."""

    metric: ClassVar[str] = "schema_match"
    how: Literal["json_schema"]
    json_schema: Shape

    @model_validator(mode="after")
    def _small(self) -> JsonSchema:
        depths = list(self.json_schema.nested())
        if len(depths) > MAX_SHAPES or max(depths) > MAX_DEPTH:
            raise ValueError(f"the schema has more than {MAX_SHAPES} parts or {MAX_DEPTH} levels")
        return self


Check = Annotated[Exact | F1 | Numeric | Regex | JsonSchema, Field(discriminator="how")]


def check_target(check: Check, row: Row) -> None:
    """That a row holds the target that the check asks for. Raises `Invalid`."""
    if isinstance(check, Numeric):
        _number(row, check.target)
    elif isinstance(check, Regex):
        if check.target is not None:
            text_of(row, check.target, MAX_TARGET)
    elif not isinstance(check, JsonSchema):
        value = row.get(check.target)
        targets: list[Any] = value if isinstance(value, list) else [value]
        if not 1 <= len(targets) <= MAX_TARGETS:
            raise Invalid(f"`{check.target}` does not hold 1 to {MAX_TARGETS} texts.", field=check.target)
        for target in targets:
            text_of({check.target: target}, check.target, MAX_TARGET)


def _number(row: Row, name: str) -> None:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
        raise Invalid(f"`{name}` is not a number.", field=name)
