"""Proof of two histories: found for every pair of trees that cannot be one, and for no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trust.histories import KEY, Tree, forked, tree
from trust import merkle
from trust.errors import Denied, Invalid, Problem
from trust.forks import Fork, verify_fork
from trust.keys import LogKey

SIZES = st.integers(2, 70).flatmap(lambda new: st.tuples(st.integers(1, new - 1), st.just(new), st.integers(0, new)))


def fork(smaller: Tree, old: int, larger: Tree, new: int) -> Fork:
    return Fork(smaller.note(old), larger.note(new), tuple(merkle.prefix_path(old, new, larger.node)))


@given(SIZES)
def test_two_sizes_are_a_fork_exactly_when_the_smaller_tree_is_no_beginning(case: tuple[int, int, int]) -> None:
    old, new, at = case
    found = fork(tree(new), old, forked(new, at), new)
    if at < old:
        smaller, larger = verify_fork(Fork.decode(found.encode()), KEY.public)
        assert (smaller.size, larger.size) == (old, new)
    else:
        with pytest.raises(Invalid, match="no fork"):
            verify_fork(found, KEY.public)


@given(SIZES, st.data())
def test_no_path_makes_a_fork_of_one_history(case: tuple[int, int, int], data: st.DataObject) -> None:
    old, new, _ = case
    path = list(fork(tree(new), old, tree(new), new).path)
    wrong = data.draw(st.integers(0, len(path) - 1))
    for changed in ([*path[:wrong], bytes(32), *path[wrong + 1 :]], path[:wrong], [*path, bytes(32)], path[::-1]):
        with pytest.raises(Problem):
            verify_fork(Fork(tree(new).note(old), tree(new).note(new), tuple(changed)), KEY.public)


def test_one_size_with_two_roots_is_a_fork_by_itself() -> None:
    found = Fork.decode(Fork(tree(9).note(9), forked(9, 3).note(9)).encode())
    assert verify_fork(found, KEY.public)[0].size == 9
    with pytest.raises(Invalid, match="one and the same"):
        verify_fork(Fork(tree(9).note(9), tree(9).note(9)), KEY.public)


def test_the_log_must_have_signed_both() -> None:
    forged = forked(9, 3).note(9, LogKey.generate("europe"))
    with pytest.raises(Denied):
        verify_fork(Fork(tree(9).note(9), forged), KEY.public)


def test_notes_in_the_wrong_order_or_of_nothing_prove_nothing() -> None:
    for found in (Fork(tree(9).note(9), forked(5, 2).note(5)), Fork(tree(9).note(0), tree(9).note(9))):
        with pytest.raises(Invalid):
            verify_fork(found, KEY.public)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format":"coalition-fork-proof/v2","notes":["a","b"],"path":[]}',
        b'{"format":"coalition-fork-proof/v1","notes":["a"],"path":[]}',
        b'{"format":"coalition-fork-proof/v1","notes":["a",1],"path":[]}',
        b'{"format":"coalition-fork-proof/v1","notes":["a","b"],"path":"x"}',
        b'{"format":"coalition-fork-proof/v1","notes":["a","b"],"path":["x"]}',
        b'{"format":"coalition-fork-proof/v1","notes":["a","b"],"path":[],"more":1}',
    ],
)
def test_anything_else_is_no_proof(data: bytes) -> None:
    with pytest.raises(Invalid):
        Fork.decode(data)
