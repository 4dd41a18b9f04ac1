"""SPEC.toml files as documents."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from protos.documents.base import Document
from trust.errors import Invalid, NotFound

Spec = TypeVar("Spec", bound=Document)


def read_spec(path: Path, schema: type[Spec]) -> Spec:
    """Parse and validate. Raises `NotFound`, `Invalid` naming file and field."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"There is no file {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not valid TOML: {error}.") from None
    try:
        return schema.read(values)
    except Invalid as problem:
        raise Invalid(f"{path}: {problem.what}", problem.todo, field=problem.field) from None
