"""The tree: known roots, and proofs that hold for every size and break with every bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust import merkle
from trust.errors import Corrupt, Invalid

# The inputs and roots of RFC 6962's reference implementation (certificate-transparency, merkletree tests).
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Tree:
    """Leaf hashes and the nodes over them, the slow and obvious way."""

    def __init__(self, size: int) -> None:
        self.leaves = [merkle.leaf_hash(str(i).encode()) for i in range(size)]

    def node(self, level: int, index: int) -> bytes:
        return merkle.root(self.leaves[index << level : (index + 1) << level])

    def root(self, size: int) -> bytes:
        return merkle.root(self.leaves[:size])


def test_roots_are_those_of_the_reference_implementation() -> None:
    leaves = [merkle.leaf_hash(bytes.fromhex(text)) for text in INPUTS]
    assert [merkle.root(leaves[:n]).hex() for n in range(1, 9)] == ROOTS
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.integers(1, 300).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_every_entry_is_proven_and_no_other(case: tuple[int, int]) -> None:
    size, index = case
    tree = Tree(size)
    proof = merkle.inclusion_proof(index, size, tree.node)
    merkle.verify_inclusion(index, size, tree.leaves[index], proof, tree.root(size))
    with pytest.raises(Corrupt):
        merkle.verify_inclusion(index, size, merkle.leaf_hash(b"another"), proof, tree.root(size))
    with pytest.raises(Corrupt):
        merkle.verify_inclusion(index, size, tree.leaves[index], [*proof, b"\0" * 32], tree.root(size))


@given(st.integers(0, 300).flatmap(lambda new: st.tuples(st.integers(0, new), st.just(new))))
def test_every_prefix_is_proven(case: tuple[int, int]) -> None:
    old, new = case
    tree = Tree(new)
    proof = merkle.consistency_proof(old, new, tree.node)
    merkle.verify_consistency(old, new, tree.root(old), tree.root(new), proof)
    with pytest.raises(Corrupt):
        merkle.verify_consistency(old, new, merkle.leaf_hash(b"rewritten"), tree.root(new), proof)


def test_every_proof_of_every_small_tree_holds() -> None:
    full = Tree(70)
    for size in range(1, 71):
        root = full.root(size)
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, full.node)
            merkle.verify_inclusion(index, size, full.leaves[index], proof, root)
        for old in range(size + 1):
            merkle.verify_consistency(old, size, full.root(old), root, merkle.consistency_proof(old, size, full.node))


@given(st.integers(2, 300).flatmap(lambda new: st.tuples(st.integers(1, new - 1), st.just(new))), st.data())
def test_one_wrong_bit_breaks_a_proof_of_consistency(case: tuple[int, int], data: st.DataObject) -> None:
    old, new = case
    tree = Tree(new)
    proof = merkle.consistency_proof(old, new, tree.node)
    place, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    changed = bytearray(proof[place])
    changed[bit // 8] ^= 1 << bit % 8
    wrong = [*proof[:place], bytes(changed), *proof[place + 1 :]]
    for bad in (wrong, proof[:-1], [*proof, proof[-1]]):
        with pytest.raises(Corrupt):
            merkle.verify_consistency(old, new, tree.root(old), tree.root(new), bad)


def test_an_empty_tree_has_one_root_only() -> None:
    merkle.verify_consistency(0, 0, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    with pytest.raises(Corrupt):
        merkle.verify_consistency(0, 0, merkle.EMPTY_ROOT, b"\0" * 32, [])


@given(st.integers(0, 300))
def test_appending_one_by_one_gives_the_root_of_the_whole(size: int) -> None:
    tree = Tree(size)
    grown = merkle.CompactRange()
    for leaf in tree.leaves:
        grown = grown.append(leaf)
    assert grown.size == size
    assert merkle.CompactRange(grown.size, grown.hashes).root() == merkle.tree_root(size, tree.node) == tree.root(size)


@given(st.integers(2, 200), st.data())
def test_one_wrong_bit_breaks_a_proof(size: int, data: st.DataObject) -> None:
    tree = Tree(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, tree.node)
    place = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = bytearray(proof[place])
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Corrupt):
        merkle.verify_inclusion(
            index, size, tree.leaves[index], [*proof[:place], bytes(changed), *proof[place + 1 :]], tree.root(size)
        )


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    with pytest.raises(Invalid):
        merkle.inclusion_proof(3, 3, Tree(3).node)
    with pytest.raises(Invalid):
        merkle.consistency_proof(4, 3, Tree(3).node)
    with pytest.raises(Corrupt):
        merkle.verify_consistency(4, 3, b"", b"", [])
