"""How many parameters a model has, read from its safetensors headers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from protos.formats.safetensors import header


def parameter_count(files: Iterable[Path]) -> int:
    """The sum over every tensor of every file. Raises `Invalid` for a file that is not safetensors."""
    return sum(tensor.elements for path in files for tensor in header(path, path.name).values())
