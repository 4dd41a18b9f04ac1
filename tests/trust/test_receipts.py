"""Receipts: one entry, provable with the log's key alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust import merkle
from trust.errors import Corrupt, Denied, Invalid, Problem
from trust.keys import LogKey
from trust.notes import TreeHead, sign_tree_head
from trust.receipts import Receipt, verify_receipt

KEY = LogKey.generate("europe")
LEAVES = [f"leaf {i}".encode() for i in range(11)]
HASHES = [merkle.leaf_hash(leaf) for leaf in LEAVES]


def receipt(index: int) -> bytes:
    head = TreeHead("europe", len(LEAVES), merkle.root(HASHES))
    proof = merkle.inclusion_proof(index, 11, lambda level, i: merkle.root(HASHES[i << level : (i + 1) << level]))
    return Receipt(index, tuple(proof), sign_tree_head(head, KEY)).encode()


@given(st.integers(0, 10))
def test_a_receipt_proves_its_leaf_and_no_other(index: int) -> None:
    assert verify_receipt(receipt(index), LEAVES[index], KEY.public).size == 11
    with pytest.raises(Corrupt):
        verify_receipt(receipt(index), LEAVES[index - 1], KEY.public)


def test_a_receipt_of_another_log_is_refused() -> None:
    with pytest.raises(Denied):
        verify_receipt(receipt(3), LEAVES[3], LogKey.generate("europe").public)


def test_extra_data_is_read_over() -> None:
    data = receipt(3).replace(b"\nindex", b"\nextra AAAA\nindex", 1)
    assert verify_receipt(data, LEAVES[3], KEY.public).size == 11


def test_a_receipt_is_written_as_the_specification_says() -> None:
    """c2sp.org/tlog-proof: header, index, hashes from the leaf upwards, a blank line, the checkpoint as it is."""
    assert Receipt(5, (b"\0" * 32,), b"checkpoint\n").encode() == (
        b"c2sp.org/tlog-proof@v1\nindex 5\n" + b"A" * 43 + b"=\n\ncheckpoint\n"
    )
    assert Receipt(0, (), b"checkpoint\n").encode() == b"c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n"


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=64))
def test_a_receipt_reads_as_it_was_written(index: int, proof: list[bytes]) -> None:
    written = Receipt(index, tuple(proof), b"any\n\nnote\n")
    assert Receipt.decode(written.encode()) == written


def test_an_endless_receipt_is_refused() -> None:
    data = Receipt(0, (b"\0" * 32,) * 65, b"").encode()
    for long in (data, receipt(3) + b"x" * (1 << 18)):
        with pytest.raises(Invalid):
            Receipt.decode(long)


@given(st.data())
def test_a_changed_byte_is_refused(data: st.DataObject) -> None:
    changed = bytearray(receipt(5))
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Problem):
        verify_receipt(bytes(changed), LEAVES[5], KEY.public)


@pytest.mark.parametrize("data", [b"", b"c2sp.org/tlog-proof@v1\n\n", b"c2sp.org/tlog-proof@v1\nindex 01\n\nx"])
def test_what_is_no_receipt_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        Receipt.decode(data)
