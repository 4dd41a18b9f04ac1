from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learning.architectures import build_model
from learning.packing import batch_at, pack, positions
from protos.documents.architectures import Llama
from tests.learning.test_architectures import FAMILIES, SMALL
from trust.errors import Invalid

DOCUMENTS = st.lists(st.lists(st.integers(1, 80_000), max_size=30), max_size=20)


@given(DOCUMENTS, st.integers(2, 17))
def test_no_token_is_lost_but_the_incomplete_tail(documents: list[list[int]], length: int) -> None:
    stream = list(chain.from_iterable([*document, 0] for document in documents))
    packed = pack(iter(documents), length, 0)
    assert packed.shape == (len(stream) // length, length)
    assert packed.ravel().tolist() == stream[: packed.size]


def test_ids_take_two_bytes_where_they_fit() -> None:
    assert pack([[65_535]], 2, 0).dtype == np.uint16
    assert pack([[65_536]], 2, 0).dtype == np.int32


@pytest.mark.parametrize("document", [[-1, 2], [2**40], ["a"]])
def test_what_is_no_token_id_is_refused(document: list[int]) -> None:
    with pytest.raises(Invalid):
        pack([document], 2, 0)


def _ids(step: int, world: int, size: int, seed: int = 5, blocks: int = 10) -> list[int]:
    packed = np.arange(blocks * 2, dtype=np.uint16).reshape(-1, 2)
    parts = [batch_at(packed, step, size, rank, world, seed) for rank in range(world)]
    return [int(row[0]) // 2 for part in parts for row in part]


def test_each_epoch_visits_every_block_once_in_another_order() -> None:
    epochs = [[block for step in range(5 * e, 5 * e + 5) for block in _ids(step, 2, 1)] for e in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert _ids(0, 2, 1, seed=6) + _ids(1, 2, 1, seed=6) != epochs[0][:4]


def test_a_batch_depends_on_seed_and_step_alone_not_on_the_number_of_ranks() -> None:
    for step in range(12):
        assert _ids(step, 1, 4) == _ids(step, 2, 2) == _ids(step, 4, 1)


def test_no_blocks_and_impossible_ranks_are_refused() -> None:
    with pytest.raises(Invalid):
        batch_at(pack([[1]], 8, 0), 0, 1, 0, 1, 0)
    with pytest.raises(Invalid):
        batch_at(pack([[1, 2, 3]], 2, 0), 0, 1, 2, 2, 0)


def test_positions_begin_anew_with_every_document() -> None:
    blocks = torch.tensor([[7, 8, 0, 5, 6, 0, 0, 9], [0, 1, 2, 3, 4, 5, 6, 0]])
    assert positions(blocks, 0).tolist() == [[0, 1, 0, 1, 2, 0, 0, 1], [0, 1, 2, 3, 4, 5, 6, 0]]
    assert blocks[0, 0] == 7


DENSE = Llama(**SMALL, layers=2, kv_heads=1, intermediate_size=64)
LENGTHS = (20, 13, 28)  # over and under the sliding window of 16


def _packed_and_alone(family: Any, attention: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The logits of a row of documents, and those of each document by itself."""
    random = torch.Generator().manual_seed(0)
    documents = [torch.cat([torch.zeros(1), torch.randint(1, 512, (n,), generator=random)]).long() for n in LENGTHS]
    model = build_model(family.hugging_face(), seed=0)
    model.set_attn_implementation(attention)
    row = torch.cat(documents)[None]
    with torch.no_grad():
        packed = model(input_ids=row, position_ids=positions(row, 0), use_cache=False).logits[0]
        return packed, [model(input_ids=document[None], use_cache=False).logits[0] for document in documents]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "family", [DENSE, *(f for f in FAMILIES if f.family != "nemotron_h")], ids=lambda family: family.family
)
def test_a_document_in_a_row_of_them_is_read_as_if_alone(family: Any, attention: str) -> None:
    packed, alone = _packed_and_alone(family, attention)
    torch.testing.assert_close(packed, torch.cat(alone), rtol=0, atol=1e-6)


def test_a_hybrid_holds_documents_apart_in_its_attention_layers_only() -> None:
    """The state of its state space layers goes on from one document to the next."""
    hybrid = next(f for f in FAMILIES if f.family == "nemotron_h")
    packed, alone = _packed_and_alone(hybrid.model_copy(update={"pattern": "*E-"}), "sdpa")
    torch.testing.assert_close(packed, torch.cat(alone), rtol=0, atol=1e-6)
    packed, alone = _packed_and_alone(hybrid, "sdpa")
    first = len(alone[0])
    torch.testing.assert_close(packed[:first], alone[0], rtol=0, atol=1e-6)
    assert not torch.allclose(packed[first:], torch.cat(alone[1:]), atol=1e-3)
