"""What a generated answer is worth: each check by examples, JSON's against the reference validator, and none of them slow."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.grading import MAX_OUTPUT, credit, f1, fits, normal
from protos.documents.checks import JsonSchema
from trust.errors import Invalid


def check(how: str, **more: Any) -> dict[str, Any]:
    return {
        "exact": {"target": "target", "normalise": "none"},
        "f1": {"target": "target"},
        "numeric": {"target": "target", "which": "last", "absolute": 0, "relative": 1e-9},
        "regex": {},
        "json_schema": {},
    }[how] | {"how": how, **more}


@pytest.mark.parametrize(
    ("how", "more", "output", "target", "worth"),
    [
        ("exact", {}, " Paris\n", "Paris", 1),
        ("exact", {}, "paris", "Paris", 0),
        ("exact", {"normalise": "squad"}, "The  Paris!", ["Lyon", "paris"], 1),
        ("f1", {}, "the cat sat", "a cat", 2 / 3),
        ("f1", {}, "dog", ["cat", "the dog."], 1),
        ("f1", {}, "", "cat", 0),
        ("numeric", {}, "12 eggs, so 1,234.5 in all.", 1234.5, 1),
        ("numeric", {"which": "first"}, "12 eggs, so 3", 12, 1),
        ("numeric", {"relative": 0.01}, "about 3.15", 3.14159, 1),
        ("numeric", {}, "3.15", 3.14159, 0),
        ("numeric", {"absolute": 0.5}, "-7e1", -70.4, 1),
        ("numeric", {}, "none", 0, 0),
        ("numeric", {}, "1e999", 1, 0),
        ("regex", {"pattern": r"(?i)yes\b"}, "Well, YES.", "", 1),
        ("regex", {"pattern": r"Answer: (\w)", "target": "target"}, "x Answer: B", "B", 1),
        ("regex", {"pattern": r"Answer: (\w)", "target": "target"}, "Answer: A, Answer: B", "B", 0),
        ("regex", {"pattern": r"\d+", "target": "target"}, "7 or 8", "7", 1),
        ("json_schema", {"json_schema": {"type": "object", "required": ["a"]}}, '{"a": 1}', "", 1),
        ("json_schema", {"json_schema": {"type": "object"}}, '{"a": 1, "a": 2}', "", 0),
        ("json_schema", {"json_schema": {"type": "number"}}, "NaN", "", 0),
        ("json_schema", {"json_schema": {"type": "integer"}}, "1e999", "", 0),
        ("json_schema", {"json_schema": {"type": "array"}}, "[" * 10_000, "", 0),
    ],
)
def test_an_answer_is_worth_what_its_check_says(how: str, more: Any, output: str, target: Any, worth: float) -> None:
    assert credit(check(how, **more), output, {"target": target}) == pytest.approx(worth)


def test_normalising_is_squads() -> None:
    assert normal("The  Quick, (brown) fox: an animal") == "quick brown fox animal"
    assert f1("New York City", "new york") == pytest.approx(0.8)


def test_there_is_no_other_check() -> None:
    with pytest.raises(Invalid):
        credit({"how": "os.system"}, "", {})


def test_a_pattern_of_exponential_effort_elsewhere_takes_none_here() -> None:
    """Python's own engine would not return within a lifetime."""
    assert credit(check("regex", pattern=r"^(([\w\W])+)+@@$"), "a" * MAX_OUTPUT, {}) == 0
    assert credit(check("regex", pattern=r"(a|a)*(a|aa)+$b"), "a" * MAX_OUTPUT, {}) == 0


def test_what_is_beyond_the_log_is_not_graded() -> None:
    assert credit(check("regex", pattern="end"), "x" * MAX_OUTPUT + "end", {}) == 0


names = st.sampled_from("ab")
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-3, 3).map(lambda x: round(x * 2) / 2)
    | st.text("xy", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2),
    max_leaves=6,
)


def shapes(depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    inner = shapes(depth - 1) if depth else st.just({"type": "string"})
    count = st.integers(0, 3)
    bound = st.integers(-2, 2)
    return st.fixed_dictionaries(
        {"type": st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])},
        optional={
            "properties": st.dictionaries(names, inner, max_size=2),
            "required": st.lists(names, max_size=2, unique=True),
            "additionalProperties": st.booleans(),
            "items": inner,
            "minItems": count,
            "maxItems": count,
            "minLength": count,
            "maxLength": count,
            "minimum": bound,
            "maximum": bound,
            "enum": st.lists(st.none() | st.booleans() | bound | st.text("xy", max_size=2), min_size=1, max_size=3),
        },
    )


@given(shapes(), values)
def test_json_fits_as_the_reference_validator_says(shape: dict[str, Any], value: Any) -> None:
    JsonSchema.read({"how": "json_schema", "json_schema": shape})
    expected = jsonschema.Draft202012Validator(shape).is_valid(value)
    assert fits(json.loads(json.dumps(value)), shape, 0) == expected
