"""What the site heard and its training process reads: each a document in a file of the home's `site` folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from protos.documents.base import Document
from trust.files import write_atomic

Kept = TypeVar("Kept", bound=Document)


def keep(path: Path, document: Document) -> None:
    """Write it, where another one is kept or none."""
    data = document.model_dump_json().encode()
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(path, data)


def kept(path: Path, kind: type[Kept]) -> Kept | None:
    """What is kept there, if anything is. Raises `Invalid` for what is no such document."""
    return kind.read(json.loads(path.read_bytes())) if path.exists() else None
