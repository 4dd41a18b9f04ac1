"""`coalition ledger mirror`: a verified copy of tiles, heads, cosignatures and every blob that we may read. A mirror has a
hub's layout, so that whatever reads a hub's directory reads a mirror.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contributors.client import Coalition
from contributors.ledger import Advance
from contributors.seen import Head, Seen
from contributors.sources import StoreSource
from contributors.trusted import HUB_KEY, LEDGER_KEY
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
from trust.errors import Conflict, Corrupt, NotFound, Problem
from trust.files import write_atomic
from trust.notes import TreeHead, verify_tree_head
from trust.tiles import WIDTH, TileReader, encode_bundle, entries_path, tile_path, tiles_for

OURS = frozenset({"ledger", "blobs", "incoming", "keys", "lost+found"})
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
    under it is verified and here. Raises `Corrupt` when the hub's ledger does not extend the mirror's and all that our home has
    seen, or is not what its head says: the mirror is then as it was. Raises `Conflict` for a folder that holds other things.
    """
    _refuse_foreign(directory)
    witnessed = standing(hub).witnessed  # before the head, which then covers it
    key, note = hub.home.ledger_key(), hub.head().note
    head, seen = verify_tree_head(note, key, key.name), _seen(hub, directory)
    try:
        _fetch_tiles(hub, head, seen, directory, advance)
    except Corrupt:  # of the hub's making, or of our disk's
        _fetch_tiles(hub, head, seen, directory, advance, afresh=True)
    audit = verify_log(_Arriving(directory, note), key)
    result = Mirrored(head)
    _fetch_blobs(hub, audit, directory, result, advance)
    _write(directory / LEDGER_KEY, f"{key.encode()}\n".encode())
    _write(directory / HUB_KEY, hub.home.statement_key().pem())
    if witnessed:
        _write(directory / "ledger" / "checkpoint.witnessed", witnessed)
    _write(directory / "ledger" / "checkpoint", note)
    return result


def _refuse_foreign(directory: Path) -> None:
    """A mirror is a folder of its own: what is dropped or replaced in it is never anybody else's."""
    if directory.exists() and not directory.is_dir():
        raise Conflict(f"{directory} is a file.", "Name a folder that is empty, or not there yet.")
    names = {path.name for path in directory.glob("*")} - OURS
    names |= {f"keys/{path.name}" for path in (directory / "keys").glob("*")} - {str(LEDGER_KEY), str(HUB_KEY)}
    if names:
        raise Conflict(f"{directory} holds {min(names)}, which is no part of a mirror.", "Name an empty folder.")


def _seen(hub: Coalition, directory: Path) -> Seen:
    """All that our home was shown, and the head that the mirror has."""
    key, seen = hub.home.ledger_key(), Seen.of(hub.home)
    try:
        note = StoreSource(directory).read_tree_head()
        return seen.with_head(Head(note, verify_tree_head(note, key, key.name), "the mirror's tree head"))
    except NotFound:
        return seen
    except Problem as problem:
        raise Corrupt(
            f"{directory / 'ledger' / 'checkpoint'} is no tree head of {key.name}: {problem.what}",
            "Is it a mirror of another hub? If it was damaged, move that file away and mirror again.",
        ) from None


def _fetch_tiles(
    hub: Coalition, head: TreeHead, seen: Seen, directory: Path, advance: Advance, *, afresh: bool = False
) -> None:
    """Bring tiles and entries to what the head proves. Each is proven before it is written, and the whole to be of the history
    that was seen before anything is. `afresh` believes nothing that is here. Raises `Corrupt`.
    """
    ledger, fetched = directory / "ledger", set[str]()

    def read(path: str) -> bytes:
        if not afresh and (ledger / path).exists():
            return (ledger / path).read_bytes()
        advance(path)
        fetched.add(path)
        return hub.tile(path)

    reader = TileReader(read, head.size, head.root)
    seen.check(head, [reader.leaf_hash(index) for index in range(head.size)], live=True)
    for level, number, width in tiles_for(head.size):
        data, path = reader.tile(level, number, width), tile_path(level, number, width)
        if path in fetched:
            _write(ledger / path, data)
    for number in range(-(-head.size // WIDTH)):
        width = min(WIDTH, head.size - number * WIDTH)
        data, path = encode_bundle(reader.bundle(number, width)), entries_path(number, width)
        if path in fetched:
            _write(ledger / path, data)


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
