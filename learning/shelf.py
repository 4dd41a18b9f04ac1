"""Where tensors lie that are together as large as a model: in memory, or in files that are mapped into it.

What is mapped from a file is read and written as it is looked at, and the system takes its memory back whenever others need it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trust.errors import Invalid


@dataclass(frozen=True)
class Shelf:
    """In files without names in `folder`, which go with the last of their tensors; without a folder in memory."""

    folder: Path | None = None

    def zeros(self, like: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Zeros of these names and shapes. Raises `OSError` where the disk has no room for them."""
        if self.folder is None:
            return {name: torch.zeros(tensor.shape, dtype=dtype) for name, tensor in like.items()}
        ends = list(accumulate(tensor.numel() for tensor in like.values()))
        size = max(1, *ends) if ends else 1
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="tensors-") as file:
            os.posix_fallocate(
                file.fileno(), 0, size * dtype.itemsize
            )  # a hole that finds no room is a signal that kills
            whole = torch.from_file(file.name, shared=True, size=size, dtype=dtype)
        return {
            name: whole[end - tensor.numel() : end].view(tensor.shape)
            for (name, tensor), end in zip(like.items(), ends, strict=True)
        }

    def filled(self, like: Mapping[str, Tensor], make: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """What `make` says of each name, one in memory at a time: fp32, of these shapes, sorted by name."""
        if self.folder is None:
            return {name: make(name).to(torch.float32) for name in sorted(like)}
        found = self.zeros({name: like[name] for name in sorted(like)})
        for name, place in found.items():
            place.copy_(make(name))
        return found


IN_MEMORY = Shelf()


def map_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in the safetensors file `path`, sorted by name, read when they are looked at: do not write to them. The file
    may lose its name meanwhile. Raises `Invalid` where it is something else."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(f"The tensors cannot be read: {error}.", "Send safetensors bytes.") from error
    return {name: tensors[name] for name in sorted(tensors)}


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """The bytes of `learning.updates.save_tensors` as a file, without a copy of them all in memory."""
    save_file({name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}, path)
