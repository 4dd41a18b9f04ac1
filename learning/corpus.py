"""The tokens that a base run trains on, dataset by dataset, as one safetensors file that is mapped into memory, never read whole:
a corpus may be greater than the memory, and of its pages only those that a rank's batches lie on are touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from learning.mixture import Rows
from learning.packing import Tokens, narrowest
from trust.errors import Invalid

_TRAIN, _HELD_OUT, _DOMAINS = "train/", "held-out/", "domains"
_BUCKETS = 1 << 64
_AT_ONCE = 1 << 20  # tokens that are written at a time
_KINDS = {np.dtype(np.uint16): "U16", np.dtype(np.int32): "I32"}  # in safetensors' words


def is_held_out(text: str, share: float) -> bool:
    """Whether a document is among the `share` that is never trained on: its digest alone decides, so that copies of it are, too,
    in whatever dataset and run, and that a greater share holds out all that a smaller one does."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") < share * _BUCKETS


@dataclass(frozen=True)
class Corpus:
    """`train` by dataset: documents, each with the token that ends it; `held_out` those that are never trained on; `domains` by
    dataset."""

    train: Mapping[str, Tokens]
    domains: Mapping[str, str]
    held_out: Mapping[str, Tokens] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens to train on, by dataset."""
        return {name: len(tokens) for name, tokens in self.train.items()}

    def save(self, path: Path) -> None:
        """Each stream in uint16 where all of its tokens fit, else in int32; the bytes are those that `safetensors` writes."""
        tensors = {_TRAIN + name: tokens for name, tokens in self.train.items()}
        tensors |= {_HELD_OUT + name: tokens for name, tokens in self.held_out.items()}
        _write(path, tensors, {_DOMAINS: json.dumps(dict(self.domains))})

    @classmethod
    def load(cls, path: Path) -> Corpus:
        """Mapped from the file, which must stay as it is. Raises `Invalid` for what `save` did not write."""
        try:
            with safe_open(str(path), framework="pt") as file:  # for numpy it would copy
                domains = dict(json.loads((file.metadata() or {})[_DOMAINS]))
                found = {name: file.get_tensor(name).numpy() for name in sorted(file.keys())}
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise Invalid(f"The packed tokens cannot be read: {error}.", "Prepare the run again.") from None
        parts: dict[str, dict[str, Tokens]] = {_TRAIN: {}, _HELD_OUT: {}}
        for key, tokens in found.items():
            kind, _, name = key.partition("/")
            _check(name, tokens, domains)
            parts.setdefault(f"{kind}/", {})[name] = tokens
        return cls(parts[_TRAIN], domains, parts[_HELD_OUT])


def batch(tokens: Mapping[str, Tokens], rows: Rows, length: int, vocab_size: int) -> Tensor:
    """Those sequences of `length` tokens: int64 [rows, length]. Raises `Invalid` for tokens that a vocabulary of `vocab_size`
    does not have."""
    parts = [tokens[dataset][index * length : (index + 1) * length] for dataset, index in rows]
    found = np.stack(parts).astype(np.int64)
    least, most = int(found.min()), int(found.max())
    if least < 0 or most >= vocab_size:
        raise Invalid(
            f"The packed tokens reach from {least} to {most}, and the model has a vocabulary of {vocab_size}.",
            "Use the tokenizer that belongs to the architecture.",
            field="architecture.vocab_size",
        )
    return torch.from_numpy(found)


def _write(path: Path, tensors: Mapping[str, Tokens], metadata: Mapping[str, str]) -> None:
    """`safetensors` would take a copy of all. Its order: wide types first, then by name."""
    kinds = {name: narrowest(tokens) for name, tokens in tensors.items()}
    names = sorted(tensors, key=lambda name: (-kinds[name].itemsize, name))
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name in names:
        begin, end = end, end + len(tensors[name]) * kinds[name].itemsize
        header[name] = {"dtype": _KINDS[kinds[name]], "shape": [len(tensors[name])], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            for begin in range(0, len(tensors[name]), _AT_ONCE):
                tensors[name][begin : begin + _AT_ONCE].astype(kinds[name]).tofile(file)


def _check(name: str, tokens: Tokens, domains: Mapping[str, str]) -> None:
    if tokens.ndim != 1 or tokens.dtype not in (np.uint16, np.int32) or not isinstance(domains.get(name), str):
        raise Invalid(f"The packed tokens of {name[:80]} are none.", "Prepare the run again.")
