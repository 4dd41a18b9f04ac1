from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learning.objectives.rows import Rows, Sample, one_each, pack_apart
from trust.errors import Invalid

SAMPLES = st.lists(
    st.lists(st.tuples(st.integers(1, 99), st.booleans()), min_size=1, max_size=12).map(
        lambda pairs: Sample(tuple(token for token, _ in pairs), tuple(counted for _, counted in pairs))
    ),
    max_size=12,
)


def _found(rows: Rows) -> list[Sample]:
    """The samples in rows, each between two beginnings of places; what fills them counts nowhere."""
    samples = []
    for ids, places, counted in zip(rows.ids, rows.places, rows.counted, strict=True):
        begins = [*(places == 0).nonzero().flatten().tolist(), len(ids)]
        for start, end in pairwise(begins):
            if bool(counted[start:end].any()):
                samples.append(Sample(tuple(ids[start:end].tolist()), tuple(counted[start:end].tolist())))
    return samples


@settings(max_examples=100, deadline=None)
@given(SAMPLES, st.integers(2, 15))
def test_every_sample_stands_whole_in_one_row_and_apart(samples: list[Sample], length: int) -> None:
    cut = [(sample.ids[:length], (False, *sample.counted[1:length])) for sample in samples]
    expected = Counter(Sample(*each) for each in cut if any(each[1]))
    rows = pack_apart(samples, length, 0)
    assert Counter(_found(rows)) == expected
    assert rows.ids.shape == (len(rows), length)
    assert not bool(rows.counted[:, 0].any()) if len(rows) else True
    # No two rows would fit in one.
    used = sorted(int((row != 0).sum()) for row in rows.ids)
    assert len(used) < 2 or used[0] + used[1] > length


def test_rows_for_each_sample_are_filled_up_behind_it() -> None:
    rows = one_each([Sample((5, 6, 7), (False, True, True)), Sample((8, 9), (False, True))], 0)
    assert rows.ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert rows.counted.tolist() == [[False, True, True], [False, True, False]]
    assert torch.equal(rows.take(torch.tensor([1])).ids, rows.ids[1:])


def test_what_has_nothing_to_learn_is_refused() -> None:
    with pytest.raises(Invalid, match="no token"):
        one_each([Sample((5,), (True,))], 0)
    with pytest.raises(Invalid, match="nothing to predict"):
        pack_apart([], 1, 0)
