"""Histories that a log may tell, true and forked ones, signed with the log's key."""

from __future__ import annotations

from dataclasses import dataclass

from trust import merkle
from trust.keys import LogKey
from trust.notes import TreeHead, sign_tree_head
from trust.witnessing import AddCheckpoint

KEY = LogKey.generate("europe")


@dataclass
class Tree:
    """A history: leaf hashes, the heads over its beginnings, and proofs."""

    leaves: list[bytes]
    origin: str = "europe"

    def node(self, level: int, index: int) -> bytes:
        return merkle.root(self.leaves[index << level : (index + 1) << level])

    def head(self, size: int) -> TreeHead:
        return TreeHead(self.origin, size, merkle.root(self.leaves[:size]))

    def note(self, size: int, key: LogKey = KEY) -> bytes:
        return sign_tree_head(self.head(size), key)

    def request(self, old: int, new: int) -> bytes:
        proof = merkle.consistency_proof(old, new, self.node) if old <= new else []
        return AddCheckpoint(old, tuple(proof), self.note(new)).encode()


def tree(size: int, word: str = "entry") -> Tree:
    return Tree([merkle.leaf_hash(f"{word} {index}".encode()) for index in range(size)])


def forked(size: int, at: int) -> Tree:
    """The same history up to entry `at`, another one from there."""
    return Tree(tree(at).leaves + tree(size, "rewritten").leaves[at:])
