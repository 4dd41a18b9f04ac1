"""Documents into a stream of tokens, the stream into blocks, and blocks into batches that (seed, step) alone decide."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learning.mixture import order
from trust.errors import Invalid

Tokens = NDArray[Any]  # [n], uint16 or int32
Blocks = NDArray[Any]  # [n, length], uint16 or int32


def join(documents: Iterable[list[int]], eos: int) -> Tokens:
    """Token lists one after the other with `eos` after each: [n], uint16 where every id fits, else int32.

    Raises `Invalid` for ids that are no token ids.
    """
    stream = array("i")
    try:
        for document in documents:
            stream.extend(document)
            stream.append(eos)
    except (OverflowError, TypeError) as error:
        raise Invalid(f"A document holds something that is no token id: {error}.", "Tokenise it again.") from error
    tokens = np.frombuffer(stream, dtype=np.intc) if stream else np.zeros(0, dtype=np.intc)
    if len(tokens) and int(tokens.min()) < 0:
        raise Invalid("A document holds a negative token id.", "Tokenise it again.")
    narrow = not len(tokens) or int(tokens.max()) <= np.iinfo(np.uint16).max
    return tokens.astype(np.uint16 if narrow else np.int32)


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
