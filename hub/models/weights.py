"""How many parameters a model has, read from its safetensors headers (github.com/huggingface/safetensors, "Format")."""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path

from trust.errors import Invalid

MAX_HEADER = 100 << 20


def parameter_count(files: Iterable[Path]) -> int:
    """The sum over every tensor of every file. Raises `Invalid` for a file that is not safetensors."""
    return sum(_count(path) for path in files)


def _count(path: Path) -> int:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= MAX_HEADER:
            raise Invalid(f"{path.name} is not a safetensors file.")
        try:
            header = json.loads(file.read(length))
            return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise Invalid(f"{path.name} has a damaged safetensors header.") from None
