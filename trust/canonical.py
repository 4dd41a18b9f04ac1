"""JSON to be signed: emitted canonically (RFC 8785), parsed so that every reader sees the same value (RFC 7493).

A verifier does not ask for canonical form: it verifies the bytes as they came and parses those bytes only. What it must
refuse is text that two parsers would read differently.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

import rfc8785

from trust.errors import Invalid

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_MAX_INTEGER = 2**53 - 1

# A string (to its end, or to the end of the text if it has none) or one bracket; linear in the length of the text.
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def emit(value: Any) -> bytes:
    """The canonical bytes of a JSON value."""
    try:
        return rfc8785.dumps(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(f"The value has no canonical JSON form: {error}.") from error


def parse(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH, exact_integers: bool = True) -> Any:
    """Parse strictly: bounded size and depth, UTF-8, unique keys, finite numbers, integers that a double can hold.

    Data that is not signed may have larger integers: `exact_integers=False`.
    """
    if len(data) > max_bytes:
        raise Invalid(f"The JSON document has {len(data)} bytes; {max_bytes} are allowed.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"The JSON document is not UTF-8 at byte {error.start}.") from error
    _check_depth(text, max_depth)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_int=_exact if exact_integers else None,
            parse_constant=_no_constant,
        )
        if "\\u" in text:  # only an escape can smuggle in half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Invalid("The JSON document holds half of a surrogate pair, which is not a character.") from error
    except (ValueError, RecursionError) as error:
        raise Invalid(f"The document is not JSON: {error}.") from error
    return value


def _check_depth(text: str, max_depth: int) -> None:
    if text.count("[") + text.count("{") <= max_depth:
        return
    depth = 0
    for token in _TOKENS.finditer(text):
        mark = token.group()
        if mark in "[{":
            depth += 1
            if depth > max_depth:
                raise Invalid(f"The JSON document is nested deeper than {max_depth} levels.")
        elif mark in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise Invalid(f"The JSON document has the key {twice[:60]!r} twice in one object.")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Invalid(f"The JSON document holds the number {text[:40]}, which is too large for a double.")
    return number


def _exact(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > _MAX_INTEGER:
        raise Invalid(f"The JSON document holds the integer {text[:40]}, which a double cannot hold exactly.")
    return int(text)


def _no_constant(text: str) -> NoReturn:
    raise Invalid(f"The JSON document holds {text}, which is not a JSON number.")
