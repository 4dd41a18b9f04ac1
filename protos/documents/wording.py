"""What is wrong with a value, in a person's words: the one translation of the validator's errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"
IDENTIFIER = r"^[a-z0-9][a-z0-9.-]{0,79}$"
DIGEST = r"^sha256:[0-9a-f]{64}$"
LICENCE = r"^[A-Za-z0-9][A-Za-z0-9.+:() -]{0,199}$"
PATH = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}){0,3}$"

_SHAPES = {
    NAME: "must be 3 to 63 lower-case letters, digits and hyphens, with no hyphen at either end",
    IDENTIFIER: "must be lower-case letters, digits, dots and hyphens, such as data-1a2b3c4d5e6f",
    DIGEST: "must be sha256: and 64 hexadecimal digits",
    LICENCE: "must be an SPDX licence expression, such as CC-BY-4.0",
    PATH: "must be a path of up to four parts out of letters, digits, dots, hyphens and underscores",
}
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here; check its spelling",
    "string_type": "must be a text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "has not the form that it must have",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "union_tag_invalid": "must be one of {expected_tags}",
    "union_tag_not_found": "must say its kind: {discriminator}",
    "value_error": "{error}",
}


def place(error: Mapping[str, Any], value: Any) -> str:
    """Where in `value` one of pydantic's errors lies, as who wrote it knows it; empty for the whole of it.

    The validator's own steps are left out: which of several schemas it took, and that a key was at fault.
    """
    known = list[Any]()
    for step in error["loc"]:
        if _has(value, step):
            known, value = [*known, step], value[step]
    if error["type"] == "missing":
        known.append(error["loc"][-1])
    return ".".join(map(str, known))


def _has(value: Any, step: Any) -> bool:
    if isinstance(value, Mapping):
        return step in value
    return isinstance(value, list | tuple) and isinstance(step, int) and step < len(value)


def sentence(error: Mapping[str, Any], kind: str, field: str) -> str:
    """One of pydantic's error details as `field: what is wrong.`; of a `kind` as a whole where no `field` is at fault."""
    words = _words(error["type"], error.get("ctx", {}), error["msg"])
    if field:
        return f"{field}: {words}."
    if words.startswith(("is ", "must ", "has ")):
        return f"The {kind.lower()} {words}."
    first = words.split(" ", 1)[0]
    return (
        f"{words}." if "." in first or "_" in first else f"{words[:1].upper()}{words[1:]}."
    )  # a field's name stays as it is


def _words(kind: str, context: Mapping[str, Any], otherwise: str) -> str:
    if kind in ("string_too_short", "too_short") and context.get("min_length") == 1:
        return "must not be empty"
    shape = _SHAPES.get(context.get("pattern", ""))
    plain = {name: f"{limit:.15g}" if isinstance(limit, float) else limit for name, limit in context.items()}
    return shape or _WORDS.get(kind, otherwise).format_map(plain)
