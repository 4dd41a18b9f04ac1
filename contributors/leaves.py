"""The ledger's entries as its signed head proves them: every one of them, and what came since the last look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contributors.client import Coalition
from protos.documents.leaf import Leaf
from trust.errors import Corrupt
from trust.merkle import CompactRange, leaf_hash
from trust.notes import TreeHead, verify_tree_head
from trust.tiles import TileReader


class Leaves:
    """The tree's root is recomputed from the leaves that the hub hands out, so that it can leave none of them out.

    Each look reads only what is new, and holds it to what was read before. How new the hub's newest head is, is its word:
    a hub that shows an old one is found by the witnesses.
    """

    def __init__(self, hub: Coalition) -> None:
        self._hub = hub
        self._tree = CompactRange()

    @property
    def size(self) -> int:
        """Entries that were read."""
        return self._tree.size

    def new(self) -> Iterator[tuple[int, Leaf]]:
        """The entries since the last look, by index; none where the hub's head is older than that (one of several processes).

        Raises `Corrupt` for leaves that do not make the signed head, or another history than was seen, and `Denied` for a
        head that the ledger's key did not sign.
        """
        home, start = self._hub.home, self.size
        key, known = home.ledger_key(), home.known_head()
        head = verify_tree_head(self._hub.head().note, key, key.name)
        if known is not None and head.size < known.size:
            raise Corrupt(
                f"The ledger shrank from {known.size} to {head.size} entries.", "Run `coalition ledger verify`."
            )
        if head.size < start:
            return iter(())
        data = list(TileReader(self._hub.tile, head.size).entries(start, head.size))
        self._tree = _extended(self._tree, data, [head] if known is None else [known, head])
        return ((index, Leaf.decode(each)) for index, each in enumerate(data, start))


def _extended(tree: CompactRange, data: Sequence[bytes], heads: Sequence[TreeHead]) -> CompactRange:
    """The tree with more leaves, which passes through all of `heads` that are not behind it, smallest first."""
    start = tree.size
    for head in heads:
        if head.size < tree.size:
            continue
        tree = tree.extend(map(leaf_hash, data[tree.size - start : head.size - start]))
        if tree.root() != head.root:
            raise Corrupt(
                f"The ledger's entries do not make the signed head of {head.size} entries.",
                "The hub leaves entries out, or shows another history than before. Run `coalition ledger verify`.",
            )
    return tree
