"""The walk through the ledger: every file of the log against its signed head, and every blob that an entry names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from hub.blobs import BlobStore
from hub.ledger.heads import CHECKPOINT, Heads
from hub.ledger.log import WITNESSED
from hub.reading import Unreadable
from hub.scrub.copies import Folder
from hub.scrub.files import damaged_bundle, damaged_tile
from hub.scrub.findings import Damage, Step, Walk
from hub.scrub.proven import Copy, Proven
from hub.scrub.store import CHANGED
from protos.documents import statements
from protos.documents.base import Claim
from protos.documents.leaf import Leaf
from protos.documents.named import blobs_of
from protos.documents.submissions import Suite
from trust.digests import Digest
from trust.dsse import MAX_ENVELOPE
from trust.errors import Corrupt, NotFound, Problem
from trust.keys import LogPublicKey
from trust.notes import verify_tree_head
from trust.tiles import WIDTH, entries_path, tile_path, tiles_for

LOOKED_UP = 4096
"""Bytes that looking for a blob counts as."""


class Named:
    """Blobs that the ledger's entries name. `damaged` are known to be so; what was `purged` need not be there."""

    def __init__(self, blobs: BlobStore, purged: Callable[[Digest], bool], damaged: Collection[str] = ()) -> None:
        self._blobs, self._purged, self._damaged = blobs, purged, damaged
        self.size = 0  # bytes read, and looked up

    def damage(self, index: int, data: bytes) -> Iterator[Damage]:
        """Of the entry `index`: its statement, and what that names."""
        leaf = Leaf.decode(data)
        where = f"entry {index}, {leaf.kind} {leaf.id}"
        envelope = Digest(leaf.envelope)
        claim = self._claim(envelope)
        if not isinstance(claim, Claim):
            yield Damage("blob", envelope, claim, (f"{where}: its statement",))
            return
        sealed = isinstance(claim, Suite) and claim.visibility == "sealed"
        for digest, path in blobs_of(claim):
            if what := self._lost(digest):
                yield Damage("blob", digest, what, (f"{where}: {path}",), sealed)

    def _claim(self, envelope: Digest) -> Claim | str:
        """What a statement says, or what is wrong with its blob."""
        if what := self._lost(envelope):
            return what
        try:
            data = self._blobs.read(envelope, MAX_ENVELOPE)
        except (Corrupt, Unreadable, NotFound):
            return CHANGED
        self.size += len(data)
        return statements.read(data).claim

    def _lost(self, digest: Digest) -> str:
        self.size += LOOKED_UP
        if digest in self._damaged:
            return CHANGED
        if self._blobs.has(digest) or self._purged(digest):
            return ""
        return "is set aside as damaged" if self._blobs.was_set_aside(digest) else "is missing"


@dataclass(frozen=True)
class LedgerWalk:
    """`own` are the hub's files; `others` may help to prove which of them are right."""

    own: Folder
    key: LogPublicKey
    named: Named
    others: tuple[Copy, ...] = ()

    def steps(self, after: str = "") -> Walk:
        """Bundle by bundle from the number `after` on, then the tiles above, then the heads.

        A hub may append meanwhile: what comes behind the bundles that are there now is young enough to wait. Raises
        `Unavailable` when a bucket is away.
        """
        number = int(after or 0)
        try:
            proven = self._proven()
        except Corrupt:  # no head to go by
            yield self._step(number, _damaged_heads(self.own, self.key))
            return
        stop = -(-proven.size // WIDTH)
        while number < stop and proven.holds:
            yield self._step(number, self._bundle(proven, number))
            yield self._step(number + 1, self._named_in(proven, number))
            number += 1
            proven = self._proven(proven)
        yield self._step(number, self._tiles_above(proven) if proven.holds else _newest(proven.size))
        yield self._step(number, _damaged_heads(self.own, self.key))

    def _step(self, number: int, damage: Iterator[Damage]) -> Step:
        before = self.own.size + self.named.size
        found = tuple(damage)
        return Step(str(number), self.own.size + self.named.size - before, found)

    def _bundle(self, proven: Proven, number: int) -> Iterator[Damage]:
        yield from damaged_tile(self.own, proven, 0, number)
        yield from damaged_bundle(self.own, proven, number)

    def _named_in(self, proven: Proven, number: int) -> Iterator[Damage]:
        for index, entry in enumerate(proven.entries(number), number * WIDTH):
            if entry is not None:
                yield from self.named.damage(index, entry)

    def _tiles_above(self, proven: Proven) -> Iterator[Damage]:
        for level, number, _ in tiles_for(proven.size):
            if level:
                yield from damaged_tile(self.own, proven, level, number)

    def _proven(self, before: Proven | None = None) -> Proven:
        """The tree under the newest head."""
        _, head = Heads(self.own.directory, self.key).newest()
        if before is not None and before.size == head.size:
            return before
        return Proven(head.size, head.root, (self.own, *self.others))


def _newest(size: int) -> Iterator[Damage]:
    """Where the head proves nothing: some of these are damaged, and nobody can say which."""
    what = "is one of those that do not lead to the signed tree head"
    if size % WIDTH:
        yield Damage("bundle", entries_path(size // WIDTH, size % WIDTH), what)
    for level, number, width in tiles_for(size):
        if width < WIDTH:
            yield Damage("tile", tile_path(level, number, width), what)


def _damaged_heads(own: Folder, key: LogPublicKey) -> Iterator[Damage]:
    for name in (CHECKPOINT, WITNESSED):
        note = own.read(name)
        if note is None:
            if name == CHECKPOINT:
                yield Damage("head", name, "is missing")
            continue
        try:
            verify_tree_head(note, key, key.name)
        except Problem:
            yield Damage("head", name, "was changed on the disk")
