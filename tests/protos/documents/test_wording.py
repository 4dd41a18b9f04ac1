"""A value that is wrong is told as `field: what is wrong`, never in the validator's own language."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import Field, model_validator
from pydantic_core import ErrorDetails

from protos.documents import wording
from protos.documents.base import DigestText, Document, Identifier, Licence, Name, Path
from trust.errors import Invalid


class Inner(Document):
    count: int = Field(ge=1, le=9)


class Round(Document):
    shape: Literal["round"]
    radius: float = Field(gt=0)


class Square(Document):
    shape: Literal["square"]
    side: int


class Thing(Document):
    name: Name
    kind: Literal["a", "b"] = "a"
    ratio: float = 1.0
    parts: tuple[Inner, ...] = Field(default=(), max_length=2)
    note: Annotated[str, Field(min_length=1)] = "x"
    outline: Annotated[Round | Square, Field(discriminator="shape")] | None = None
    shares: dict[Name, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ratio_fits(self) -> Thing:
        if self.ratio > 5:
            raise ValueError("the ratio does not fit")
        return self


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "name: is missing."),
        (
            {"name": "UPPER"},
            "name: must be 3 to 63 lower-case letters, digits and hyphens, with no hyphen at either end.",
        ),
        ({"name": 3}, "name: must be a text."),
        ({"name": "abc", "nmae": 1}, "nmae: is not known here; check its spelling."),
        ({"name": "abc", "kind": "c"}, "kind: must be 'a' or 'b'."),
        ({"name": "abc", "ratio": "much"}, "ratio: must be a number."),
        ({"name": "abc", "ratio": float("nan")}, "ratio: must be a finite number."),
        ({"name": "abc", "parts": [{"count": 0}]}, "parts.0.count: must be at least 1."),
        ({"name": "abc", "parts": [{"count": 10}]}, "parts.0.count: must be at most 9."),
        ({"name": "abc", "parts": [{"count": 1.5}]}, "parts.0.count: must be a whole number."),
        ({"name": "abc", "parts": [{"count": 1}] * 3}, "parts: must have at most 2 entries."),
        ({"name": "abc", "note": ""}, "note: must not be empty."),
        ({"name": "abc", "ratio": 6.0}, "The ratio does not fit."),
        ([], "The thing must be a table."),
        ({"name": "abc", "outline": {"shape": "square"}}, "outline.side: is missing."),
        (
            {"name": "abc", "outline": {"shape": "square", "sied": 1, "side": 2}},
            "outline.sied: is not known here; check its spelling.",
        ),
        ({"name": "abc", "outline": {"shape": "round", "radius": 0}}, "outline.radius: must be more than 0."),
        (
            {"name": "abc", "shares": {"A": 1}},
            "shares.A: must be 3 to 63 lower-case letters, digits and hyphens, with no hyphen at either end.",
        ),
    ],
)
def test_the_first_field_at_fault_and_what_is_wrong_with_it(value: Any, sentence: str) -> None:
    with pytest.raises(Invalid) as refused:
        Thing.read(value)
    assert refused.value.what == sentence


def test_every_shape_that_documents_share_is_told_in_words() -> None:
    for shape in (Name, Identifier, DigestText, Licence, Path):
        pattern = get_args(shape)[1].pattern
        details = ErrorDetails(type="string_pattern_mismatch", loc=("x",), msg="", input="", ctx={"pattern": pattern})
        assert wording.sentence(details, "Thing", "x") != "x: has not the form that it must have."
