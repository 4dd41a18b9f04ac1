"""Fields of a suite's rows: their names, and texts in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import StringConstraints

from trust.errors import Invalid

FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Row = Mapping[str, Any]


def text_of(row: Row, name: str, most: int) -> str:
    """The text in a field. Raises `Invalid` where there is none, or a longer one than `most` characters."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise Invalid(f"`{name}` is not a text of at most {most} characters.", field=name)
    return value
