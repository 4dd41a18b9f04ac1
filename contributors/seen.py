"""What a home was shown of the ledger before: the tree head that it verified last, and every receipt that it keeps.

The ledger must hold all of it, for ever. A copy in files may be older than what we saw, which speaks against nobody; a hub may
not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from contributors.home import Home
from trust import merkle
from trust.errors import Corrupt, Problem
from trust.notes import TreeHead, verify_tree_head
from trust.receipts import Receipt, verify_receipt

HASH = 32


@dataclass(frozen=True)
class Head:
    """A signed head that we were shown; with a receipt, that entry `index` under it has the hash `leaf`."""

    note: bytes
    head: TreeHead
    where: str
    index: int = -1
    leaf: bytes = b""


@dataclass(frozen=True)
class Seen:
    """All heads, the hashes of the entries that we verified, and what of ours could not be read."""

    heads: tuple[Head, ...] = ()
    leaves: bytes = b""
    damaged: tuple[str, ...] = ()

    @classmethod
    def of(cls, home: Home) -> Seen:
        """Raises a Problem when the home's tree head was changed. A receipt that does not hold is `damaged`."""
        heads: list[Head] = []
        damaged: list[str] = []
        key = home.ledger_key()
        if known := home.known_head():
            heads.append(Head(home.known_note(), known, "the tree head that you verified last"))
        for path in sorted((home.directory / "receipts").glob("*.tlog-proof")):
            try:
                data, leaf = path.read_bytes(), path.with_suffix(".leaf").read_bytes()
                head, receipt = verify_receipt(data, leaf, key), Receipt.decode(data)
            except FileNotFoundError:
                damaged.append(f"The receipt {path} has lost its leaf; it is not compared.")
            except Problem as problem:
                damaged.append(f"The receipt {path} does not hold, and is not compared: {problem.what}")
            else:
                heads.append(Head(receipt.note, head, f"the receipt {path}", receipt.index, merkle.leaf_hash(leaf)))
        return cls(tuple(heads), home.known_leaves(), tuple(damaged))

    def with_head(self, head: Head) -> Seen:
        return replace(self, heads=(*self.heads, head))

    def check(self, head: TreeHead, hashes: Sequence[bytes], *, live: bool) -> list[str]:
        """Compare a ledger, by its head and the hashes of its entries, with all that was seen; what could not be compared, in
        sentences. Raises `Corrupt` where it is not the same history, or where a `live` ledger has become shorter.
        """
        for known in self.heads:
            if known.head.origin != head.origin:
                raise Corrupt(f"The ledger is {head.origin!r}; {known.where} is of {known.head.origin!r}.")
            if 0 <= known.index < head.size and hashes[known.index] != known.leaf:
                raise Corrupt(f"Entry {known.index} of the ledger is not the one of {known.where}.")
        largest = max((known.head.size for known in self.heads), default=0)
        if live:
            self._refuse_shorter(head.size)
        self._check_roots(hashes)
        if largest <= head.size:
            return []
        if len(self.leaves) >= HASH * head.size and merkle.root(_split(self.leaves, head.size)) != head.root:
            raise Corrupt("This copy of the ledger is of another history than the one that you verified.")
        return [
            f"This copy is older than what you have seen: it ends with {head.size} entries, and you saw {largest}. "
            "That is no fault of anybody's; the entries after it are not checked."
        ]

    def _refuse_shorter(self, size: int) -> None:
        for known in self.heads:
            if known.index >= size:
                raise Corrupt(
                    f"The ledger has {size} entries, and lacks entry {known.index}, which {known.where} proves."
                )
            if known.head.size > size:
                raise Corrupt(f"The ledger shrank from {known.head.size} to {size} entries: see {known.where}.")

    def _check_roots(self, hashes: Sequence[bytes]) -> None:
        """The heads are of this tree's beginnings: one pass over the entries for all of them."""
        tree = merkle.CompactRange()
        for known in sorted(self.heads, key=lambda known: known.head.size):
            if known.head.size > len(hashes):
                return
            tree = tree.extend(hashes[tree.size : known.head.size])
            if tree.root() != known.head.root:
                raise Corrupt(f"The ledger was rewritten: it does not extend {known.where}.")


def remember(home: Home, note: bytes, leaves: Iterable[bytes]) -> None:
    """Keep what was verified, unless we know more already."""
    known, key = home.known_head(), home.ledger_key()
    if known is None or known.size <= verify_tree_head(note, key, key.name).size:
        home.remember_head(note)
        home.remember_leaves(tuple(leaves))


def _split(hashes: bytes, count: int) -> Iterable[bytes]:
    return (hashes[HASH * i : HASH * (i + 1)] for i in range(count))
