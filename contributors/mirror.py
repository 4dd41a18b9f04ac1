"""`coalition ledger mirror`: a verified copy of tiles, heads, cosignatures and every blob that we may read. A mirror has a
hub's layout, so that whatever reads a hub's directory reads a mirror.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contributors.client import Coalition
from contributors.ledger import Advance
from contributors.sources import StoreSource
from contributors.witness.standing import standing
from protos.documents import statements
from protos.documents.holdings import Holdings
from protos.documents.leaf import Leaf
from protos.documents.named import blobs_of
from protos.documents.roll import Roll
from protos.documents.statements import Claimed
from protos.transport import blobs
from trust.audit import Audit, verify_log
from trust.digests import Digest
from trust.errors import NotFound, Problem
from trust.files import write_atomic
from trust.notes import TreeHead, verify_tree_head
from trust.tiles import WIDTH, entries_path, tile_path, tiles_for

MAX_BLOB = 1 << 30  # of those whose size no statement tells: updates, per-item logs, bundles


@dataclass
class Mirrored:
    """What a mirror holds now, and what came this time."""

    head: TreeHead
    fetched: int = 0
    present: int = 0
    private: int = 0
    purged: int = 0


@dataclass(frozen=True)
class _Arriving(StoreSource):
    """The mirror with the head that it is about to have."""

    note: bytes

    def read_tree_head(self) -> bytes:
        return self.note


def mirror(hub: Coalition, directory: Path, advance: Advance = lambda what: None) -> Mirrored:
    """Bring the mirror up to the hub's newest head. What is there is not fetched again; the head is replaced last, once all
    under it is verified and here. Raises `Corrupt` when the hub's ledger does not extend the mirror's.
    """
    witnessed = standing(hub).witnessed  # before the head, which then covers it
    key, note = hub.home.ledger_key(), hub.head().note
    head, store = verify_tree_head(note, key, key.name), StoreSource(directory)
    known = _known(hub, store)
    (directory / "ledger").mkdir(parents=True, exist_ok=True)
    for path in _files(head.size):
        if not (directory / "ledger" / path).exists():
            advance(path)
            _write(directory / "ledger" / path, hub.tile(path))
    audit = verify_log(_Arriving(directory, note), key, known)
    result = Mirrored(head)
    _fetch_blobs(hub, audit, directory, result, advance)
    if witnessed:
        _write(directory / "ledger" / "checkpoint.witnessed", witnessed)
    _write(directory / "ledger" / "checkpoint", note)
    return result


def _known(hub: Coalition, store: StoreSource) -> TreeHead | None:
    """The head that the mirror had, or else the one that our home remembers."""
    key = hub.home.ledger_key()
    try:
        return verify_tree_head(store.read_tree_head(), key, key.name)
    except NotFound:
        return hub.home.known_head()


def _files(size: int) -> list[str]:
    """Every tile and entry bundle of a tree of that size."""
    full, rest = divmod(size, WIDTH)
    bundles = [entries_path(number) for number in range(full)] + ([entries_path(full, rest)] if rest else [])
    return bundles + [tile_path(level, number, width) for level, number, width in tiles_for(size)]


def _fetch_blobs(hub: Coalition, audit: Audit, directory: Path, result: Mirrored, advance: Advance) -> None:
    """Every envelope, then every blob that they name. What was rightly purged is dropped here as well, and not asked for."""
    entries: list[tuple[Leaf, Claimed]] = []
    for index, data in enumerate(audit.entries):
        leaf = Leaf.decode(data)
        advance(f"entry {index}")
        _fetch(hub, Digest(leaf.envelope), None, directory, result)
        entries.append((leaf, statements.read(StoreSource(directory).read_envelope(Digest(leaf.envelope)))))
    purged = _purged(hub, entries, directory)
    for index, (_, claimed) in enumerate(entries):
        sizes = {file.digest: file.size for file in getattr(claimed.claim, "files", ())}
        for digest, name in blobs_of(claimed.claim):
            if digest in purged:
                StoreSource(directory).place(digest).unlink(missing_ok=True)
                continue
            advance(f"entry {index}: {name}")
            _fetch(hub, digest, sizes.get(digest), directory, result)
    result.purged = len(purged)


def _purged(hub: Coalition, entries: list[tuple[Leaf, Claimed]], directory: Path) -> set[Digest]:
    """What the ledger lets go, by statements whose signatures hold: nobody else's word makes a mirror drop anything."""
    if not any(leaf.kind == "purge" for leaf, _ in entries):
        return set()
    roll, holdings = Roll(hub.home.statement_key()), Holdings()
    for index, (leaf, claimed) in enumerate(entries):
        try:
            envelope = StoreSource(directory).read_envelope(Digest(leaf.envelope))
            roll.admit(claimed, envelope, index, leaf.time)
            holdings.admit(index, leaf, claimed.claim)
        except Problem:
            holdings.name(leaf, claimed.claim)  # an audit says what is wrong; until then nothing goes on its account
    return set(holdings.purged)


def _fetch(hub: Coalition, digest: Digest, size: int | None, directory: Path, result: Mirrored) -> None:
    """A blob, verified, where we may read it."""
    target = StoreSource(directory).place(digest)
    if target.exists():
        result.present += 1
        return
    try:
        if size is None:
            _write(target, blobs.read(hub.channel, digest, MAX_BLOB))
        else:
            arriving = directory / "incoming" / target.name
            blobs.download(hub.channel, digest, size, arriving)
            target.parent.mkdir(parents=True, exist_ok=True)
            arriving.rename(target)
        result.fetched += 1
    except NotFound:
        result.private += 1


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
