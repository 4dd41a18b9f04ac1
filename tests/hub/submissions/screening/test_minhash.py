"""MinHash estimates Jaccard similarity within its error, as datasketch does; bands find near duplicates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.submissions.screening import minhash
from hub.submissions.screening.words import Batch


def signature(values: np.ndarray) -> np.ndarray:
    found, _ = minhash.minima(values, np.zeros(len(values), dtype=np.int64))
    return found[0]


def two_sets(shared: int, apart: int, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    every = np.random.default_rng(seed).choice(1 << 32, shared + 2 * apart, replace=False).astype(np.uint32)
    return every[: shared + apart], np.concatenate((every[:shared], every[shared + apart :])), shared / len(every)


@settings(max_examples=60)
@given(st.integers(1, 2000), st.integers(0, 2000), st.integers(0, 1 << 30))
def test_the_estimate_is_within_five_standard_errors(shared: int, apart: int, seed: int) -> None:
    one, other, true = two_sets(shared, apart, seed)
    error = math.sqrt(true * (1 - true) / minhash.FUNCTIONS)
    assert minhash.estimate(signature(one), signature(other)) == pytest.approx(true, abs=5 * error + 0.02)


def test_over_many_pairs_the_error_is_that_of_theory_and_of_datasketch() -> None:
    ours, theirs = [], []
    for seed in range(60):
        one, other, true = two_sets(300, 150, seed)
        ours.append(minhash.estimate(signature(one), signature(other)) - true)
        pair = [MinHash(minhash.FUNCTIONS, seed=seed + 1) for _ in range(2)]
        for sketch, values in zip(pair, (one, other), strict=True):
            sketch.update_batch([value.tobytes() for value in values])
        theirs.append(pair[0].jaccard(pair[1]) - true)
    theory = math.sqrt(0.5 * 0.5 / minhash.FUNCTIONS)
    for errors in (ours, theirs):
        assert abs(np.mean(errors)) < 4 * theory / math.sqrt(len(errors))
        assert np.std(errors) < 1.5 * theory


def test_a_row_with_one_word_changed_shares_a_band_and_a_strange_one_does_not() -> None:
    words = [f"word{number}" for number in range(120)]
    changed = [*words[:60], "other", *words[61:]]
    keys = minhash.keys_of(Batch([" ".join(words), " ".join(changed), " ".join(reversed(words)), "two words"]))
    assert (keys[0] == keys[1]).any()
    assert not (keys[0] == keys[2]).any()
    assert (keys[3] == minhash.NO_KEY).all()


def test_the_order_and_the_company_of_rows_do_not_matter() -> None:
    texts = [f"{number} " + " ".join(f"w{number * k}" for k in range(40)) for number in range(1, 30)]
    together = minhash.keys_of(Batch(texts))
    alone = np.concatenate([minhash.keys_of(Batch([text])) for text in texts])
    assert (together == alone).all()
