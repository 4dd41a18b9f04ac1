"""What a generated answer is worth, from 0 to 1. Plain functions of texts: any party grades a logged answer again.

Nothing here takes longer than linear time in the answer: numbers are found by a pattern without alternatives of the same
beginning, a suite's own patterns run in RE2.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trust.errors import Invalid

MAX_OUTPUT = 16_384
"""Characters of an answer that are logged and graded."""
MAX_PATTERN_MEMORY = 1 << 20
_MAX_DEPTH = 32
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER = re.compile(r"[-+]?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")


def credit(check: Mapping[str, Any], output: str, row: Mapping[str, Any]) -> float:
    """Of an answer to a row's prompt. `check` is a check of the suite format, as JSON. Raises `Invalid` for an unknown one."""
    output = output[:MAX_OUTPUT]
    match check["how"]:
        case "exact":
            return float(exact(output, _targets(row[check["target"]]), squad=check["normalise"] == "squad"))
        case "f1":
            return max(f1(output, target) for target in _targets(row[check["target"]]))
        case "numeric":
            tolerance = {"rel_tol": check["relative"], "abs_tol": check["absolute"]}
            return float(numeric(output, row[check["target"]], first=check["which"] == "first", **tolerance))
        case "regex":
            return float(found(check["pattern"], output, row[check["target"]] if check.get("target") else None))
        case "json_schema":
            return float(json_fits(output, check["json_schema"]))
    raise Invalid(f"There is no check {check['how']!r}.")


def exact(output: str, targets: Sequence[str], *, squad: bool) -> bool:
    """Whether the answer is one of the targets, blind to white space around it."""
    if squad:
        return normal(output) in map(normal, targets)
    return output.strip() in [target.strip() for target in targets]


def normal(text: str) -> str:
    """SQuAD's `normalize_answer`: lower case, no punctuation, no articles, single spaces.

    Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016; `evaluate-v1.1.py`.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def f1(output: str, target: str) -> float:
    """SQuAD's harmonic mean of precision and recall over words."""
    said, wanted = normal(output).split(), normal(target).split()
    common = sum((Counter(said) & Counter(wanted)).values())
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def numeric(output: str, target: float, *, first: bool, rel_tol: float, abs_tol: float) -> bool:
    """Whether the first or last number in the answer is the target; commas may part its thousands."""
    numbers = _NUMBER.findall(output)
    if not numbers:
        return False
    value = float(numbers[0 if first else -1].replace(",", ""))
    return math.isfinite(value) and abs(value - target) <= max(abs_tol, rel_tol * abs(target))


def found(pattern: str, output: str, target: str | None) -> bool:
    """Whether RE2 finds the pattern, and its first group (or else all of the match) is the target, if one is given."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY
    match = re2.compile(pattern, options).search(output)
    if match is None or target is None:
        return match is not None
    said = match.group(1) if match.re.groups else match.group(0)
    return said is not None and said.strip() == target.strip()


def json_fits(output: str, schema: Mapping[str, Any]) -> bool:
    """Whether the answer is JSON of this schema. Duplicate names, NaN and deep nesting are not JSON here."""
    try:
        value = json.loads(output, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return fits(value, schema, 0)


def fits(value: Any, schema: Mapping[str, Any], depth: int) -> bool:
    """JSON Schema draft 2020-12, the part that the suite format allows."""
    allowed = schema.get("enum")
    if depth > _MAX_DEPTH or (allowed is not None and not any(_same(value, each) for each in allowed)):
        return False
    match schema["type"]:
        case "object":
            return isinstance(value, dict) and _object_fits(value, schema, depth)
        case "array":
            return isinstance(value, list) and _array_fits(value, schema, depth)
        case "string":
            return isinstance(value, str) and _within(len(value), schema, "minLength", "maxLength")
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = isinstance(value, int) or value.is_integer()
    return (whole or schema["type"] == "number") and _within(value, schema, "minimum", "maximum")


def _object_fits(value: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> bool:
    known = schema.get("properties", {})
    if any(name not in value for name in schema.get("required", ())):
        return False
    if not schema.get("additionalProperties", True) and not value.keys() <= known.keys():
        return False
    return all(fits(value[name], inner, depth + 1) for name, inner in known.items() if name in value)


def _array_fits(value: Sequence[Any], schema: Mapping[str, Any], depth: int) -> bool:
    inner = schema.get("items")
    return _within(len(value), schema, "minItems", "maxItems") and (
        inner is None or all(fits(item, inner, depth + 1) for item in value)
    )


def _within(value: float, schema: Mapping[str, Any], least: str, most: str) -> bool:
    low, high = schema.get(least), schema.get(most)
    return (low is None or value >= low) and (high is None or value <= high)


def _same(value: Any, other: Any) -> bool:
    """JSON's equality: true is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _targets(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)
