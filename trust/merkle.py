"""The Merkle tree of RFC 6962 (section 2; RFC 9162 for the verification algorithms): hashes, proofs and their checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from trust.errors import Corrupt, Invalid

EMPTY_ROOT = sha256(b"").digest()

GetNode = Callable[[int, int], bytes]
"""(level, index) -> hash of the complete subtree of 2^level leaves that starts at leaf index * 2^level."""

Ranges = MutableMapping[tuple[int, int], bytes]
"""(start, stop) -> hash over these leaves: at most one for each level of a tree, all at its right edge."""


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over leaf hashes in order."""
    return CompactRange().extend(leaf_hashes).root()


def subtree_rows(hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Row k holds, one after the other, the hashes of the complete subtrees of 2^k of the given hashes."""
    rows = [b"".join(hashes)]
    while len(hashes) > 1:
        hashes = [
            sha256(b"\x01" + hashes[i] + hashes[i + 1]).digest() for i in range(0, len(hashes) - len(hashes) % 2, 2)
        ]
        rows.append(b"".join(hashes))
    return tuple(rows)


@dataclass(frozen=True)
class CompactRange:
    """The right edge of a tree: the roots of its maximal complete subtrees, largest first. Enough to append and to hash."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def append(self, value: bytes) -> CompactRange:
        """The range with one more leaf hash."""
        return self.extend((value,))

    def extend(self, values: Iterable[bytes], complete: Callable[[int, bytes], None] | None = None) -> CompactRange:
        """The range with more leaf hashes; `complete(level, hash)` hears of every subtree of 2^level leaves that fills."""
        hashes, size = list(self.hashes), self.size
        for value in values:
            index, level = size, 0
            if complete is not None:
                complete(0, value)
            while index & 1:
                value = sha256(b"\x01" + hashes.pop() + value).digest()  # node_hash, inlined: the loop of every append
                index >>= 1
                level += 1
                if complete is not None:
                    complete(level, value)
            hashes.append(value)
            size += 1
        return CompactRange(size, tuple(hashes))

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        value = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            value = node_hash(left, value)
        return value


def range_hash(start: int, stop: int, get_node: GetNode, known: Ranges | None = None) -> bytes:
    """The hash of the subtree over leaves [start, stop), as RFC 6962 splits it; `start` is a multiple of its size's split.

    What had to be put together from several nodes is looked up in `known`, and kept there.
    """
    size = stop - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return get_node(level, start >> level)
    if known is not None and (start, stop) in known:
        return known[start, stop]
    middle = start + _split(size)
    value = node_hash(range_hash(start, middle, get_node), range_hash(middle, stop, get_node, known))
    if known is not None:
        known[start, stop] = value
    return value


def tree_root(size: int, get_node: GetNode) -> bytes:
    return range_hash(0, size, get_node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, get_node: GetNode, known: Ranges | None = None) -> list[bytes]:
    """The audit path of leaf `index` in a tree of `size` leaves (RFC 6962, 2.1.1), from the leaf upwards."""
    if not 0 <= index < size:
        raise Invalid(f"A tree of {size} entries has no entry {index}.")
    proof: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            proof.append(range_hash(middle, stop, get_node, known))
            stop = middle
        else:
            proof.append(range_hash(start, middle, get_node))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, get_node: GetNode, known: Ranges | None = None) -> list[bytes]:
    """That the tree of `old` leaves is a prefix of the one of `new` (RFC 6962, 2.1.2); empty for none or all of it."""
    if not 0 <= old <= new:
        raise Invalid(f"A tree of {new} entries does not extend one of {old}.")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    start, stop, whole = 0, new, True
    while old != stop:
        middle = start + _split(stop - start)
        if old <= middle:
            proof.append(range_hash(middle, stop, get_node, known))
            stop = middle
        else:
            proof.append(range_hash(start, middle, get_node))
            start, whole = middle, False
    if not whole:
        proof.append(range_hash(start, stop, get_node, known))
    return proof[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], expected_root: bytes) -> None:
    """Check an audit path for the leaf hash (RFC 9162, 2.1.3.2). Raises `Corrupt`."""
    if not 0 <= index < size:
        raise Corrupt(f"The proof is for entry {index} of a tree of {size}.")
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise Corrupt("The inclusion proof is too long.")
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        node, last = node >> 1, last >> 1
    if last or value != expected_root:
        raise Corrupt(f"The proof does not show entry {index} to be in the tree.")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that one tree extends the other (RFC 9162, 2.1.4.2). Raises `Corrupt`."""
    if not 0 <= old <= new:
        raise Corrupt(f"A tree of {new} entries does not extend one of {old}.")
    if old in (0, new):
        if proof or (old == 0 and old_root != EMPTY_ROOT) or (old == new and old_root != new_root):
            raise Corrupt("The two trees of the proof are not consistent.")
        return
    first, second = roots_of_path(old, new, list(proof) if old & (old - 1) else [old_root, *proof])
    if first != old_root or second != new_root:
        raise Corrupt("The ledger was rewritten: its new tree does not extend the one seen before.")


def prefix_path(old: int, new: int, get_node: GetNode) -> list[bytes]:
    """The consistency proof of a tree, with the hash that it leaves out where `old` is a power of two: `roots_of_path` makes
    both roots of it, knowing neither. `0 < old < new`.
    """
    proof = consistency_proof(old, new, get_node)
    return proof if old & (old - 1) else [range_hash(0, old, get_node), *proof]


def roots_of_path(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of the trees of `old` and of `new` leaves, `0 < old < new`, that the path leads to (RFC 9162, 2.1.4.2).

    Whoever made the path, the first is the root of the second's first `old` leaves: else SHA-256 has a collision.
    Raises `Corrupt` for a path of the wrong length.
    """
    if not 0 < old < new:
        raise Corrupt(f"No path leads from a tree of {old} to one of {new}.")
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    if not path:
        raise Corrupt("The consistency proof is empty.")
    first = second = path[0]
    for value in path[1:]:
        if last == 0:
            raise Corrupt("The consistency proof is too long.")
        if node & 1 or node == last:
            first, second = node_hash(value, first), node_hash(value, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, value)
        node, last = node >> 1, last >> 1
    if last:
        raise Corrupt("The consistency proof is too short.")
    return first, second


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)
