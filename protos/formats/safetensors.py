"""Safetensors headers, read without trusting them (github.com/huggingface/safetensors, "Format").

A file is 8 bytes of header length, a JSON header, then the tensors' bytes. The checks are those of the reference
implementation and a smaller bound on the header: names unique, offsets in order, without gaps or overlaps, to the file's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from trust.canonical import parse
from trust.errors import Invalid

MAX_HEADER = 16 << 20  # bytes
MAX_ELEMENTS = 1 << 50
# Bits of one element.
DTYPES = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file; `begin` and `end` count bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        return prod(self.shape)


def header(path: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a file. Raises `Invalid` for anything but a whole, well-formed file; reads no more than the header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(MAX_HEADER, size - 8):
            raise Invalid(f"{name} is not safetensors: its header would have {length} bytes.")
        text = file.read(length)
    if text[:1] != b"{":
        raise Invalid(f"{name} is not safetensors: its header does not begin with a brace.")
    try:
        value = parse(text, max_bytes=MAX_HEADER)
    except Invalid as problem:
        raise Invalid(f"{name} has a damaged safetensors header: {problem.what}") from None
    metadata = value.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(item, str) for item in metadata.values()):
        raise Invalid(f"{name} has safetensors metadata that is not text by text.")
    tensors = {key: _tensor(entry, f"{name}, tensor {key[:100]!r}") for key, entry in value.items()}
    _contiguous(tensors, size - 8 - length, name)
    return tensors


def _tensor(entry: Any, place: str) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Invalid(f"{place}: not a dtype, a shape and offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise Invalid(f"{place}: {str(dtype)[:20]!r} is no dtype that is taken.")
    if not _counts(shape) or len(shape) > 32 or not _counts(offsets) or len(offsets) != 2:
        raise Invalid(f"{place}: its shape or offsets are no lists of counts.")
    tensor = Tensor(dtype, tuple(shape), offsets[0], offsets[1])
    if tensor.elements > MAX_ELEMENTS or tensor.elements * DTYPES[dtype] != 8 * (tensor.end - tensor.begin):
        raise Invalid(f"{place}: {tensor.end - tensor.begin} bytes do not hold the shape {list(tensor.shape)[:8]}.")
    return tensor


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _contiguous(tensors: dict[str, Tensor], size: int, name: str) -> None:
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.begin, tensor.end)):
        if tensor.begin != end:
            raise Invalid(f"{name}: its tensors overlap or leave a gap at byte {min(end, tensor.begin)}.")
        end = tensor.end
    if end != size:
        raise Invalid(f"{name} has {size} bytes of tensors and its header names {end}.")
