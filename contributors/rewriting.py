"""When a ledger does not extend what we saw: which entry was changed first, and a proof that it was."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

from contributors.home import Home
from contributors.seen import HASH, Seen
from contributors.sources import Source
from trust import merkle
from trust.digests import digest_bytes, hex_of
from trust.errors import Corrupt, Invalid, Problem
from trust.files import write_atomic
from trust.forks import Fork, verify_fork
from trust.keys import LogPublicKey
from trust.notes import claimed_head, verify_tree_head
from trust.tiles import TileReader


def explained(home: Home, source: Source, problem: Corrupt) -> Corrupt:
    """The same problem with the first entry that differs from what we verified before, and where the proof of it lies."""
    index, proof = first_change(home, source), keep_fork(home, source)
    if index is None and proof is None:
        return problem
    where = f"Entry {index} is not what it was. " if index is not None else ""
    todo = f"The log's key signed both histories: see {proof}, and show it to the other members." if proof else ""
    return Corrupt(where + problem.what, todo)


def first_change(home: Home, source: Source) -> int | None:
    """The first entry that is another one than when we verified it; the first that is missing, of a ledger that shrank."""
    known = home.known_leaves()
    count = len(known) // HASH
    try:
        size = claimed_head(source.read_tree_head()).size
        for index, entry in enumerate(TileReader(source.read_tile, size).entries(0, min(size, count))):
            if merkle.leaf_hash(entry) != known[HASH * index : HASH * (index + 1)]:
                return index
    except Problem:
        return None
    return size if source.live and size < count else None


def keep_fork(home: Home, source: Source) -> Path | None:
    """A proof that the log's key signed a head that we know and one that contradicts it, where there is such a proof."""
    fork = _fork(home, source)
    if fork is None:
        return None
    data = fork.encode()
    folder = home.directory / "proofs"
    folder.mkdir(exist_ok=True, mode=0o700)
    path = folder / f"{hex_of(digest_bytes(data))[:16]}.json"
    write_atomic(path, data)
    return path


def _fork(home: Home, source: Source) -> Fork | None:
    for known in Seen.of(home).heads:
        with suppress(Problem):
            fork = fork_of(known.note, source.read_tree_head(), source)
            verify_fork(fork, home.ledger_key())
            return fork
    return None


def find_fork(notes: Sequence[bytes], key: LogPublicKey, source: Source) -> Fork | None:
    """Two of these heads, or one of them and the source's own, that cannot be of one history. Raises `Denied` for a head that
    the ledger's key did not sign, `Corrupt` where the source holds less than is needed to tell.
    """
    shown = source.read_tree_head()
    for one, other in combinations([*notes, shown], 2):
        sizes = sorted(verify_tree_head(note, key, key.name).size for note in (one, other))
        if 0 < sizes[0] < sizes[1] > claimed_head(shown).size:
            raise Corrupt(
                f"A head of {sizes[1]} entries cannot be compared: the ledger at hand has {claimed_head(shown).size}.",
                "Read it from a mirror or a hub that is as new.",
            )
        fork = fork_of(one, other, source)
        with suppress(Invalid):
            verify_fork(fork, key)
            return fork
    return None


def fork_of(one: bytes, other: bytes, source: Source) -> Fork:
    """Two notes as a fork, with a path through the larger tree, which `source` must hold. Whether it proves anything, tells
    `verify_fork`. Raises a Problem where the source lacks what is needed.
    """
    smaller, larger = sorted((one, other), key=lambda note: claimed_head(note).size)
    old, new = claimed_head(smaller).size, claimed_head(larger).size
    if not 0 < old < new:
        return Fork(smaller, larger)
    return Fork(smaller, larger, tuple(merkle.prefix_path(old, new, TileReader(source.read_tile, new).node)))
