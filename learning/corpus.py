"""The tokens that a base run trains on, dataset by dataset, as one safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from learning.mixture import Rows
from learning.packing import Tokens
from trust.errors import Invalid

_TRAIN, _HELD_OUT, _DOMAINS = "train/", "held-out/", "domains"
_BUCKETS = 1 << 64


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
        tensors = {_TRAIN + name: tokens for name, tokens in self.train.items()}
        tensors |= {_HELD_OUT + name: tokens for name, tokens in self.held_out.items()}
        save_file(tensors, str(path), metadata={_DOMAINS: json.dumps(dict(self.domains))})

    @classmethod
    def load(cls, path: Path, vocab_size: int) -> Corpus:
        """Raises `Invalid` for what `save` did not write, and for tokens that a vocabulary of `vocab_size` does not have."""
        try:
            with safe_open(str(path), framework="numpy") as file:
                domains = dict(json.loads((file.metadata() or {})[_DOMAINS]))
                found = {name: file.get_tensor(name) for name in sorted(file.keys())}
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise Invalid(f"The packed tokens cannot be read: {error}.", "Prepare the run again.") from None
        parts: dict[str, dict[str, Tokens]] = {_TRAIN: {}, _HELD_OUT: {}}
        for key, tokens in found.items():
            kind, _, name = key.partition("/")
            _check(name, tokens, domains, vocab_size)
            parts.setdefault(f"{kind}/", {})[name] = tokens
        return cls(parts[_TRAIN], domains, parts[_HELD_OUT])


def batch(tokens: Mapping[str, Tokens], rows: Rows, length: int) -> Tensor:
    """Those sequences of `length` tokens: int64 [rows, length]."""
    parts = [tokens[dataset][index * length : (index + 1) * length] for dataset, index in rows]
    return torch.from_numpy(np.stack(parts).astype(np.int64))


def _check(name: str, tokens: Tokens, domains: Mapping[str, str], vocab_size: int) -> None:
    if tokens.ndim != 1 or tokens.dtype not in (np.uint16, np.int32) or not isinstance(domains.get(name), str):
        raise Invalid(f"The packed tokens of {name[:80]} are none.", "Prepare the run again.")
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        raise Invalid(
            f"The packed tokens of {name[:80]} reach {int(tokens.max())}, and the model has a vocabulary of {vocab_size}.",
            "Use the tokenizer that belongs to the architecture.",
            field="architecture.vocab_size",
        )
