"""Documents into a stream of tokens, the stream into blocks, and blocks into batches that (seed, step) alone decide."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learning.mixture import order
from trust.errors import Invalid

Tokens = NDArray[Any]  # [n], uint16 or int32
Blocks = NDArray[Any]  # [n, length], uint16 or int32
_AT_ONCE = 1 << 20  # tokens that are looked at together


class Stream(Protocol):
    """Tokens one after the other; a slice of them is an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, stretch: slice, /) -> Tokens: ...


def join(documents: Iterable[list[int]], eos: int) -> Tokens:
    """Token lists one after the other with `eos` after each: [n], uint16 where every id fits, else int32.

    Raises `Invalid` for ids that are no token ids.
    """
    tokens = np.concatenate([np.zeros(0, np.int32), *_ended(documents, eos)])
    return tokens.astype(narrowest(tokens))


def spool(documents: Iterable[list[int]], eos: int, path: Path) -> Tokens:
    """As `join`, but int32 and on disk, so that no more than one document is in memory: mapped from `path`, which is written."""
    with path.open("wb") as file:
        for tokens in _ended(documents, eos):
            tokens.tofile(file)
    return np.memmap(path, np.int32, "r") if path.stat().st_size else np.zeros(0, np.int32)


def narrowest(tokens: Stream) -> np.dtype[Any]:
    """The type that tokens are kept in: uint16 where every id fits, else int32."""
    parts = range(0, len(tokens), _AT_ONCE)
    top = max((int(tokens[begin : begin + _AT_ONCE].max()) for begin in parts), default=0)
    return np.dtype(np.uint16 if top <= np.iinfo(np.uint16).max else np.int32)


def _ended(documents: Iterable[list[int]], eos: int) -> Iterator[Tokens]:
    """Each document and the token that ends it: int32 [n]."""
    for document in documents:
        try:
            tokens = np.frombuffer(array("i", [*document, eos]), dtype=np.int32)
        except (OverflowError, TypeError) as error:
            raise Invalid(f"A document holds something that is no token id: {error}.", "Tokenise it again.") from error
        if int(tokens.min()) < 0:
            raise Invalid("A document holds a negative token id.", "Tokenise it again.")
        yield tokens


def pack(documents: Iterable[list[int]], length: int, eos: int) -> Blocks:
    """`join`, cut into blocks: [n, length]. Only the incomplete tail is dropped, so n may be 0.

    Raises `Invalid` for a length below 2 (nothing to predict) and for ids that are no token ids.
    """
    if length < 2:
        raise Invalid(f"A block of {length} tokens has nothing to predict.", "Use at least 2.", field="length")
    tokens = join(documents, eos)
    return tokens[: len(tokens) // length * length].reshape(-1, length)


_order = lru_cache(maxsize=4)(order)


def positions(blocks: Tensor, boundary: int) -> Tensor:
    """The place of every token in its document: int64 [batch, length], from `blocks` int64 [batch, length].

    A document begins with the `boundary` token before it, as it does when a model is asked, and at the start of a block. Given
    these as `position_ids` and no mask, `transformers` (5.23, `masking_utils.find_packed_sequence_indices`) lets a token see its
    own document only.
    """
    begins = blocks == boundary
    begins[:, 0] = True
    places = torch.arange(blocks.shape[1], device=blocks.device).expand_as(blocks)
    return places - torch.where(begins, places, 0).cummax(-1).values


def batch_at(packed: Blocks, step: int, batch_size: int, rank: int, world: int, seed: int) -> Tensor:
    """The batch that `rank` of `world` trains on at `step`: int64 [batch_size, length].

    The blocks form an endless stream, reshuffled each epoch, of which a step takes world x batch_size. A run that
    resumes on another number of ranks therefore sees the same blocks, as long as world x batch_size stays.
    """
    count = len(packed)
    if not count:
        raise Invalid("There is not one whole block of training tokens.", "Give more text or a shorter block length.")
    if not (0 <= rank < world and batch_size > 0 and step >= 0):
        raise Invalid(f"No batch has step {step}, size {batch_size}, rank {rank} of {world}.", "Check the run's shape.")
    first = (step * world + rank) * batch_size
    places = [divmod(position, count) for position in range(first, first + batch_size)]
    rows = [int(_order(count, seed, epoch)[place]) for epoch, place in places]
    return torch.from_numpy(packed[rows].astype(np.int64))
