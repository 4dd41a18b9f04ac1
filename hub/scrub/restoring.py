"""Taking back from a member's mirror what a hub's disk has lost: the log by its signed head, blobs by their digests.

Nothing of a mirror is believed, and nothing of the hub is deleted: a damaged file is set aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub import places
from hub.aside import Aside
from hub.blobs import BlobStore
from hub.holding import held
from hub.ledger.heads import CHECKPOINT, Heads
from hub.ledger.log import WITNESSED
from hub.scrub.copies import Folder
from hub.scrub.files import damaged_bundle, damaged_tile
from hub.scrub.findings import Damage
from hub.scrub.proven import Copy, Proven
from trust.audit import verify_log
from trust.digests import CHUNK, Digest, digest_file
from trust.errors import Corrupt, NotFound, Problem
from trust.files import write_atomic
from trust.keys import LogPublicKey
from trust.merkle import tree_root
from trust.notes import TreeHead, verify_tree_head
from trust.tiles import WIDTH, TileReader, tiles_for

ANOTHER = "Try another mirror."


@dataclass
class Restored:
    """What was taken back, and what was not, with the reason."""

    back: list[Damage] = field(default_factory=list)
    lost: list[tuple[Damage, str]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        lost = [{"kind": damage.kind, "name": damage.name, "why": why} for damage, why in self.lost]
        return {"restored": [{"kind": damage.kind, "name": damage.name} for damage in self.back], "lost": lost}

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield from (f"Restored: the {damage.kind} {damage.name}." for damage in self.back)
        yield from (f"Not restored: the {damage.kind} {damage.name}: {why}." for damage, why in self.lost)


@dataclass(frozen=True)
class _Signed:
    note: bytes
    head: TreeHead


class LogRestoring:
    """The log in a hub's directory, and a mirror of it. `others` may know entries that the mirror does not have yet."""

    def __init__(self, hub: Path, ledger: Path, mirror: Path, key: LogPublicKey, others: Sequence[Copy] = ()) -> None:
        self._hub, self._own, self._key, self._others = hub, Folder(ledger), key, tuple(others)
        self._mirror, self._where = Folder(mirror / "ledger"), mirror

    def restore(self) -> Restored:
        """Make every file right under the newest head that either side has; afterwards the whole log is audited.

        The hub may serve meanwhile, unless its head has to be replaced: raises `Conflict` then. Raises `NotFound` where there
        is no mirror, `Denied` for another hub's, `Corrupt` when the two tell different histories or the mirror is too old.
        """
        theirs, ours = self._their_head(), self._our_head()
        newest = theirs if ours is None or theirs.head.size > ours.head.size else ours
        if ours is None:
            self._refuse_to_shrink(theirs.head.size)
        proven = Proven(newest.head.size, newest.head.root, (self._own, self._mirror, *self._others))
        if not proven.holds:
            raise Corrupt(f"No copy leads to the signed tree head of {proven.size} entries.", ANOTHER)
        self._refuse_forks(proven, theirs if newest is ours else ours)
        with ExitStack() as stack:
            if newest is not ours or self._verified(self._own, CHECKPOINT) is None:
                stack.enter_context(held(self._hub))
            result = self._restore_files(proven)
            if not result.lost:
                result.back += self._restore_heads(newest)
                verify_log(_Audited(self._own, newest.note), self._key)
        return result

    def _restore_files(self, proven: Proven) -> Restored:
        result = Restored()
        for damage in list(_damaged(self._own, proven)):
            try:
                self._replace(damage.name, proven.file(damage.name))
                result.back.append(damage)
            except NotFound:
                result.lost.append((damage, "no copy has it as the signed tree head proves it"))
        return result

    def _restore_heads(self, newest: _Signed) -> Iterator[Damage]:
        damaged = self._verified(self._own, CHECKPOINT) is None
        if damaged:
            self._replace(CHECKPOINT, None)
        if damaged or self._our_head() != newest:
            self._own.directory.mkdir(exist_ok=True)
            heads = Heads(self._own.directory, self._key)
            write_atomic(self._own.directory / heads.staged, newest.note)
            heads.publish(newest.note)
            yield Damage("head", CHECKPOINT, f"is now of {newest.head.size} entries")
        if self._own.read(WITNESSED) is not None and self._verified(self._own, WITNESSED) is None:
            kept = self._verified(self._mirror, WITNESSED)
            self._replace(WITNESSED, kept.note if kept and kept.head.size <= newest.head.size else None)
            yield Damage("head", WITNESSED, "was changed on the disk")

    def _replace(self, name: str, data: bytes | None) -> None:
        """Set a file aside, if it is there, and write it anew; with None, no more than that."""
        path = self._own.directory / name
        if path.exists():
            Aside(self._own.directory).take(path, name.replace("/", "_"))
        if data is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)

    def _our_head(self) -> _Signed | None:
        try:
            return _Signed(*Heads(self._own.directory, self._key).newest())
        except Corrupt:
            return None

    def _their_head(self) -> _Signed:
        note = self._mirror.read(CHECKPOINT)
        if note is None:
            raise NotFound(f"There is no mirror in {self._where}.", "Name a folder of `coalition ledger mirror`.")
        return _Signed(note, verify_tree_head(note, self._key, self._key.name))

    def _verified(self, folder: Folder, name: str) -> _Signed | None:
        note = folder.read(name)
        try:
            return None if note is None else _Signed(note, verify_tree_head(note, self._key, self._key.name))
        except Problem:
            return None

    def _refuse_to_shrink(self, size: int) -> None:
        """A history that was signed and then goes on from an earlier entry has forked."""
        number, width = divmod(size, WIDTH)
        for copy in (self._own, *self._others):
            longest = max(map(len, copy.bundles(number)), default=0)
            if longest > width or any(copy.bundles(number + 1)):
                raise Corrupt(
                    f"Both of the ledger's heads are damaged, and the mirror's, of {size} entries, is older than its files.",
                    "Take a newer mirror, or restore ledger/checkpoint from a backup.",
                )

    def _refuse_forks(self, proven: Proven, other: _Signed | None) -> None:
        reader = TileReader(proven.file, proven.size, proven.root)
        if other is not None and tree_root(other.head.size, reader.node) != other.head.root:
            raise Corrupt(
                f"The mirror in {self._where} and this ledger tell different histories: both heads are signed.",
                "Keep both as they are, and ask the members' witnesses which of them they cosigned.",
            )


@dataclass(frozen=True)
class _Audited:
    """The restored log, for the auditor."""

    own: Folder
    note: bytes

    def read_tile(self, path: str) -> bytes:
        data = self.own.read(path)
        if data is None:
            raise NotFound(f"The ledger has no {path}.")
        return data

    def read_tree_head(self) -> bytes:
        return self.note


def _damaged(own: Folder, proven: Proven) -> Iterator[Damage]:
    for number in range(-(-proven.size // WIDTH)):
        yield from damaged_bundle(own, proven, number)
    for level, number, _ in tiles_for(proven.size):
        yield from damaged_tile(own, proven, level, number)


def restore_blob(blobs: BlobStore, mirror: Path, damage: Damage) -> str:
    """Take a blob back; the reason when it cannot be. Raises `Unavailable` when the hub's disk is full or fails."""
    digest = Digest(damage.name)
    source = places.place(mirror / "blobs" / "sha256", digest)
    try:
        if digest_file(source) != digest:
            return "the mirror's copy was changed as well"
    except OSError:
        return "the mirror does not hold it"
    blobs.set_aside(digest)
    if damage.sealed and blobs.vault.has(digest):
        return "" if blobs.vault.key_fits() else "no sealed blob opens: put the right keys/seal.key in its place first"
    if not damage.sealed and blobs.has(digest):
        return ""
    size = source.stat().st_size
    incoming = blobs.vault.incoming(digest, size, 0) if damage.sealed else blobs.incoming(digest, size)
    with source.open("rb") as file, incoming:
        while chunk := file.read(CHUNK):
            incoming.write(chunk)
        incoming.finish()
    return ""
