"""The tokens that a base run trains on, dataset by dataset, as safetensors files that are mapped into memory, never read whole:
a corpus may be greater than the memory, and of its pages only those that a rank's batches lie on are touched.

It is laid out as one sequence of streams, which is cut into shards of a bounded size; how many there are changes no batch.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from learning.mixture import Rows
from learning.packing import Stream, Tokens, narrowest
from trust.errors import Invalid

SHARD = 1 << 30
"""Bytes of tokens in a file, at most."""
_TRAIN, _HELD_OUT = "train/", "held-out/"
_DOMAINS, _BEGINS, _SHARDS = "domains", "begins", "shards"
_ALONE = {
    _DOMAINS: "null",
    _BEGINS: "{}",
    _SHARDS: "1",
}  # what is not said: the one file of a version before says its domains
_BUCKETS = 1 << 64
_AT_ONCE = 1 << 20  # tokens that are written at a time
_KINDS = {np.dtype(np.uint16): "U16", np.dtype(np.int32): "I32"}  # in safetensors' words


class _Joined:
    """A stream whose tokens lie in several arrays."""

    def __init__(self, parts: Sequence[Tokens]) -> None:
        self._parts, self._ends = parts, list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, stretch: slice, /) -> Tokens:
        begin, end, _ = stretch.indices(len(self))
        found = []
        for number in range(bisect_right(self._ends, begin), len(self._parts)):
            first = self._ends[number] - len(self._parts[number])
            if first >= end:
                break
            found.append(self._parts[number][max(begin - first, 0) : end - first])
        return np.concatenate(found) if found else self._parts[0][:0]


def is_held_out(text: str, share: float) -> bool:
    """Whether a document is among the `share` that is never trained on: its digest alone decides, so that copies of it are, too,
    in whatever dataset and run, and that a greater share holds out all that a smaller one does."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") < share * _BUCKETS


@dataclass(frozen=True)
class Corpus:
    """`train` by dataset: documents, each with the token that ends it; `held_out` those that are never trained on; `domains` by
    dataset."""

    train: Mapping[str, Stream]
    domains: Mapping[str, str]
    held_out: Mapping[str, Stream] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Tokens to train on, by dataset."""
        return {name: len(tokens) for name, tokens in self.train.items()}

    def save(self, folder: Path, limit: int = SHARD) -> list[Path]:
        """Into shards of at most `limit` bytes of tokens, `tokens-N.safetensors` in their order. Each stream is in uint16 where
        all of its tokens fit, else in int32; the bytes are those that `safetensors` writes."""
        streams = {_TRAIN + name: tokens for name, tokens in self.train.items()}
        streams |= {_HELD_OUT + name: tokens for name, tokens in self.held_out.items()}
        kinds = {name: narrowest(tokens) for name, tokens in streams.items()}
        shards = list(_cut({name: len(tokens) for name, tokens in streams.items()}, kinds, limit))
        paths = []
        for number, stretches in enumerate(shards, 1):
            begins = {name: stretch.start for name, stretch in stretches.items()}
            said = {_DOMAINS: dict(self.domains), _BEGINS: begins, _SHARDS: len(shards)}
            tensors = {name: (streams[name], stretch, kinds[name]) for name, stretch in stretches.items()}
            paths.append(folder / f"tokens-{number:05}.safetensors")
            _write(paths[-1], tensors, {key: json.dumps(value) for key, value in said.items()})
        return paths

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Corpus:
        """Mapped from all shards, in their order, which must stay as they are. Raises `Invalid` for what `save` did not write."""
        streams: dict[str, list[Tokens]] = {}
        domains: dict[str, str] = {}
        for path in paths:
            said, tensors = _mapped(path)
            domains = said[_DOMAINS]
            for name, tokens in tensors.items():
                parts = streams.setdefault(name, [])
                if said[_SHARDS] != len(paths) or said[_BEGINS].get(name, 0) != sum(map(len, parts)):
                    raise Invalid(f"The packed tokens of {name[:80]} are not all there.", "Prepare the run again.")
                parts.append(tokens)
        parts_of: dict[str, dict[str, Stream]] = {_TRAIN: {}, _HELD_OUT: {}}
        for key, parts in sorted(streams.items()):
            kind, _, name = key.partition("/")
            if kind + "/" not in parts_of or not isinstance(domains.get(name), str):
                raise Invalid(f"The packed tokens of {name[:80]} are none.", "Prepare the run again.")
            parts_of[kind + "/"][name] = _Joined(parts)
        if not paths:
            raise Invalid("The packed tokens are not all there.", "Prepare the run again.")
        return cls(parts_of[_TRAIN], domains, parts_of[_HELD_OUT])


def batch(tokens: Mapping[str, Stream], rows: Rows, length: int, vocab_size: int) -> Tensor:
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


def _cut(sizes: Mapping[str, int], kinds: Mapping[str, np.dtype[Any]], limit: int) -> Iterator[dict[str, slice]]:
    """Which stretch of each stream lies in each shard: the streams one after the other, cut where a shard is full."""
    shard: dict[str, slice] = {}
    room = limit
    for name, size in sizes.items():
        begin, each = 0, kinds[name].itemsize
        while begin < size or not size:
            if size and room < each:
                yield shard
                shard, room = {}, limit
            end = min(size, begin + room // each)
            shard[name], room = slice(begin, end), room - (end - begin) * each
            begin = end
            if not size:
                break
    yield shard


def _mapped(path: Path) -> tuple[dict[str, Any], dict[str, Tokens]]:
    """What a shard says of itself, and its stretches. Raises `Invalid`."""
    try:
        with safe_open(str(path), framework="pt") as file:  # for numpy it would copy
            metadata = file.metadata() or {}
            said = {key: json.loads(metadata.get(key, alone)) for key, alone in _ALONE.items()}
            found = {name: file.get_tensor(name).numpy() for name in sorted(file.keys())}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise Invalid(f"The packed tokens cannot be read: {error}.", "Prepare the run again.") from None
    sound = isinstance(said[_DOMAINS], dict) and isinstance(said[_BEGINS], dict)
    if not sound or any(tokens.ndim != 1 or tokens.dtype not in _KINDS for tokens in found.values()):
        raise Invalid(f"{path.name} holds no packed tokens.", "Prepare the run again.")
    return said, found


def _write(path: Path, tensors: Mapping[str, tuple[Stream, slice, np.dtype[Any]]], metadata: Mapping[str, str]) -> None:
    """`safetensors` would take a copy of all. Its order: wide types first, then by name."""
    names = sorted(tensors, key=lambda name: (-tensors[name][2].itemsize, name))
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name in names:
        _, stretch, kind = tensors[name]
        count = stretch.stop - stretch.start
        begin, end = end, end + count * kind.itemsize
        header[name] = {"dtype": _KINDS[kind], "shape": [count], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tokens, stretch, kind = tensors[name]
            for begin, end in pairwise([*range(stretch.start, stretch.stop, _AT_ONCE), stretch.stop]):
                tokens[begin:end].astype(kind).tofile(file)
