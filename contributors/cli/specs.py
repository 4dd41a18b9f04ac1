"""What commands sign for: SPEC.toml files as documents, and stops."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trust.errors import Invalid, NotFound

if TYPE_CHECKING:
    from contributors.client import Coalition
    from protos.documents.base import Document
    from protos.documents.runs import Stop

Spec = TypeVar("Spec", bound="Document")


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


def stop_of(hub: Coalition, target: str, why: str) -> Stop:
    """Our claim that a run or campaign shall end. Raises `Invalid`."""
    from protos.documents.runs import Stop

    return Stop.read({"hub": hub.identity.hub, "signer": hub.identity.id, "target": target, "why": why})
