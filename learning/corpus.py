"""The tokens that a base run trains on, dataset by dataset, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from learning.mixture import Rows
from learning.packing import Tokens
from trust.errors import Invalid

_TRAIN, _DOMAINS = "train/", "domains"


@dataclass(frozen=True)
class Corpus:
    """`train` by dataset: documents, each with the token that ends it; `domains` by dataset."""

    train: Mapping[str, Tokens]
    domains: Mapping[str, str]

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens to train on, by dataset."""
        return {name: len(tokens) for name, tokens in self.train.items()}

    def save(self, path: Path) -> None:
        tensors = {_TRAIN + name: tokens for name, tokens in self.train.items()}
        save_file(tensors, str(path), metadata={_DOMAINS: json.dumps(dict(self.domains))})

    @classmethod
    def load(cls, path: Path, vocab_size: int) -> Corpus:
        """Raises `Invalid` for what `save` did not write, and for tokens that a vocabulary of `vocab_size` does not have."""
        try:
            with safe_open(str(path), framework="numpy") as file:
                domains = dict(json.loads((file.metadata() or {})[_DOMAINS]))
                train = {name.removeprefix(_TRAIN): file.get_tensor(name) for name in sorted(file.keys())}
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise Invalid(f"The packed tokens cannot be read: {error}.", "Prepare the run again.") from None
        for name, tokens in train.items():
            _check(name, tokens, domains, vocab_size)
        return cls(train, domains)

    def batch(self, rows: Rows, length: int) -> Tensor:
        """Those sequences of `length` tokens: int64 [rows, length]."""
        parts = [self.train[dataset][index * length : (index + 1) * length] for dataset, index in rows]
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
