"""The content-addressed store: a blob is its SHA-256, is there whole or not at all, and never changes.

Layout: `sha256/ab/<64 hex digits>` for blobs, `sealed/` for encrypted ones (`hub.vault`), `partial/` for what is still coming
in (`hub.partials`), `settling/` for small blobs whose files are not flushed yet, `damaged/` for what the disk has changed.
Whatever is read is hashed before its end is handed out (`hub.reading`). A disk that is full is a refusal; a flush that failed
stops the hub (`hub.fuse`).
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hub import places
from hub.aside import Aside
from hub.fuse import Fuse
from hub.gate import Gate
from hub.partials import Incoming, Partials, changed
from hub.reading import readable, verified, wrong
from hub.settling import Settling
from hub.vault import Vault
from trust.digests import CHUNK, Digest, Hasher, digest_bytes, hex_of
from trust.errors import Corrupt, Invalid, NotFound, Unavailable
from trust.files import sync_folder

MAX_READ = 256 << 20

_log = logging.getLogger(__name__)


class BlobStore:
    """Blobs in a local directory."""

    def __init__(self, directory: Path, fuse: Fuse | None = None, seal_key: Path | None = None) -> None:
        self.fuse = fuse or Fuse()
        self.gate = Gate(directory / "purge.lock", self.fuse)
        self.vault = Vault(directory / "sealed", seal_key or directory / "seal.key", self.fuse)
        self._blobs = directory / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.partials = Partials(directory / "partial", self.fuse)
        self._settling = Settling(directory / "settling", self.fuse)
        self._aside = Aside(directory)
        self._judging = threading.Lock()

    def has(self, digest: Digest) -> bool:
        return self._target(digest).is_file() or self.vault.has(digest)

    def sealed(self, digest: Digest) -> bool:
        """Whether it is here in the vault alone."""
        return not self._target(digest).is_file() and self.vault.has(digest)

    def size(self, digest: Digest) -> int:
        return self.vault.size(digest) if self.sealed(digest) else self.path(digest).stat().st_size

    def path(self, digest: Digest) -> Path:
        """Where the blob lies; do not change it. A sealed one is opened in memory: use the path soon. Raises `NotFound`."""
        path = self._target(digest)
        if not path.is_file():
            if self.vault.has(digest):
                return self.vault.path(digest)
            raise NotFound(f"There is no blob {digest}.")
        return path

    def sound(self, digest: Digest) -> Path:
        """As `path`, after every byte was hashed. Raises `NotFound`, `Corrupt`, `Unavailable`."""
        for _ in self.chunks(digest):
            pass
        return self.path(digest)

    def copy_out(self, digest: Digest, target: Path) -> None:
        """A copy of the plain bytes, hashed while they are copied. Raises `NotFound`, `Corrupt`, `Unavailable`."""
        with target.open("wb") as file:
            for chunk in self.chunks(digest):
                file.write(chunk)

    def read(self, digest: Digest, max_bytes: int = MAX_READ) -> bytes:
        """The whole blob, verified. Raises `NotFound`, `Invalid` when larger than `max_bytes`, `Corrupt`."""
        if self.size(digest) > max_bytes:
            raise Invalid(f"Blob {digest} has more than {max_bytes} bytes.")
        return b"".join(self.chunks(digest))

    def chunks(self, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The blob from `offset` on, in pieces of at most 1 MiB; the last one comes only when the whole blob is right.

        What lies before the offset is hashed too. Raises `NotFound`, `Corrupt`, `Unavailable`.
        """
        if self.sealed(digest):
            with readable(digest):
                yield from self.vault.chunks(digest, offset)
            return
        yield from verified(digest, self._pieces(digest), offset)

    def _pieces(self, digest: Digest) -> Iterator[bytes]:
        """The stored bytes as they are."""
        with readable(digest), self.path(digest).open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def examine(self, digest: Digest) -> Iterator[int]:
        """Hash the stored bytes again, piece by piece, with the size of each. Raises `NotFound`, `Unavailable`, `Corrupt`."""
        for chunk in self.chunks(digest):
            yield len(chunk)

    def check(self, digest: Digest) -> bool:
        """Whether the stored bytes are right, all of them read again. Raises `NotFound`, `Unavailable`."""
        try:
            for _ in self.examine(digest):
                pass
        except Corrupt:
            return False
        return True

    def stored(self, after: str = "") -> Iterator[Digest]:
        """Every blob, in the order of the digests, from behind the digest `after` on; sealed ones apart (`vault.stored`)."""
        return places.stored(self._blobs, after)

    def set_aside(self, digest: Digest) -> bool:
        """Move a blob that is damaged out of everybody's way: it can be sent again then. False when it is right, or not here.

        A sealed one stays while no sealed blob opens: it may be the key that is wrong. Raises `Unavailable` when the disk fails.
        """
        moved: list[str] = []
        with self._judging:
            if not self.sealed(digest) and wrong(self.examine(digest)):
                moved.append(self._move_aside(digest))
            if self.vault.has(digest) and wrong(self.vault.chunks(digest)) and self.vault.key_fits():
                moved.append(self._keep_aside(self.vault.place(digest), digest))
        for target in moved:
            _log.error("the blob %s is damaged: it was set aside as %s", digest, target)
        return bool(moved)

    def _move_aside(self, digest: Digest) -> str:
        return self._keep_aside(self._target(digest), digest)

    def _keep_aside(self, path: Path, digest: Digest) -> str:
        with self.fuse.guard("setting a damaged blob aside"):
            return str(self._aside.take(path, hex_of(digest)))

    def was_set_aside(self, digest: Digest) -> bool:
        return self._aside.has(hex_of(digest))

    def keep(self, digest: Digest) -> bool:
        """Whether it is here; if so it counts as just stored, so that there is time to record what names it."""
        with self.gate.keeping():
            if not self.has(digest):
                return False
            self._touch(digest)
            return True

    def idle(self, digest: Digest) -> float:
        """Seconds since it was stored, or since somebody relied on it."""
        return time.time() - max(changed(self._target(digest)), changed(self.vault.place(digest)))

    def drop(self, digest: Digest) -> None:
        """Delete it durably, sealed or not; again does nothing. For `hub.disposal`, which knows who needs it.

        Raises `Unavailable` when the disk does not.
        """
        self._drop_plain(digest)
        self._delete(self.vault.forget(digest), digest)
        with self.fuse.guard("deleting a damaged blob"):
            self._aside.drop(hex_of(digest))

    def seal(self, digest: Digest) -> None:
        """Encrypt what lies here plain: its plain bytes go when the sealed ones are durable. Again does nothing.

        Raises as `read`, `put_sealed` and `drop`.
        """
        if not self.vault.has(digest):
            self.put_sealed(self.read(digest))
        self._drop_plain(digest)

    def _drop_plain(self, digest: Digest) -> None:
        self._delete(self._target(digest), digest)

    def _delete(self, path: Path, digest: Digest) -> None:
        try:
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unavailable(f"The hub's disk does not delete {digest}: {error.strerror}.", "Try again.") from None
        with self.fuse.guard("deleting a blob"):
            sync_folder(path.parent)

    def put(self, data: bytes) -> Digest:
        """Store and make durable. Raises `Unavailable` when the disk is full or fails."""
        digest = digest_bytes(data)
        with self.gate.keeping():
            if self._stored(digest):
                return digest
            with self.partials.temporary() as (path, file):
                file.write(data)
                self.partials.settle(file)
                self._publish(path, digest)
        return digest

    def put_sealed(self, data: bytes) -> Digest:
        """Store encrypted and make durable. Raises as `put`, and `Unavailable` without the seal key."""
        digest = digest_bytes(data)
        with self.gate.keeping():
            if self.vault.has(digest):
                self._touch(digest)
            else:
                self.vault.put(digest, data)
        return digest

    def put_group(self, blobs: Iterable[bytes]) -> None:
        """Store many small blobs, durable together by one flush (`hub.settling`). One thread at a time. Raises as `put`."""
        with self.gate.keeping():
            fresh = {digest: data for data in blobs if not self._stored(digest := digest_bytes(data))}
            if fresh:
                self._settling.add(list(fresh.values()))
                for digest, data in fresh.items():
                    self._place(digest, data)

    def put_file(self, source: Path) -> Digest:
        """Copy a file in, hashed while it is copied, and make it durable. Raises as `put`."""
        hasher = Hasher()
        with source.open("rb") as incoming, self.partials.temporary() as (path, file):
            while chunk := incoming.read(CHUNK):
                hasher.update(chunk)
                file.write(chunk)
            self.partials.settle(file)
            self._publish_at_rest(path, hasher.digest())
        return hasher.digest()

    def resumable(self, owner: str, digest: Digest, size: int, offset: int) -> Incoming:
        """Go on with an upload of `size` bytes at `offset`. Raises `Conflict` when that is not where it stopped.

        Every owner starts its own: who completes an upload has shown all of its bytes.
        """
        path = self.partials.upload(owner, digest)
        return Incoming(self.partials, self._publish, path, digest, size, offset, keep=True)

    def incoming(self, digest: Digest, size: int) -> Incoming:
        """Receive `size` bytes in one go; what came of a cut is dropped."""
        return Incoming(self.partials, self._publish_at_rest, self.partials.fresh(), digest, size, 0, keep=False)

    def sweep(self, older: float = 0) -> None:
        """At start-up: complete the groups that a crash cut, drop what an interrupted `put` left; uploads may be resumed.

        Where several processes share the directory, what others write now must stay: only what is `older` (in seconds) goes.
        """
        self.partials.sweep(older)
        self._settling.recover(self._place_again)
        self.vault.sweep(older)

    def close(self) -> None:
        """Settle the groups that were put."""
        self._settling.close()
        self.vault.close()

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._blobs).free

    def _stored(self, digest: Digest) -> bool:
        """Whether it is here unsealed; then it counts as just stored."""
        if not self._target(digest).is_file():
            return False
        self._touch(digest)
        return True

    def _touch(self, digest: Digest) -> None:
        for path in (self._target(digest), self.vault.place(digest)):
            with suppress(FileNotFoundError):
                os.utime(path)

    def _target(self, digest: Digest) -> Path:
        return places.place(self._blobs, digest)

    def _place_again(self, data: bytes) -> None:
        digest = digest_bytes(data)
        if not (self._target(digest).is_file() and self.check(digest)):
            self._place(digest, data)

    def _place(self, digest: Digest, data: bytes) -> None:
        """Write the file of a blob that is durable elsewhere."""
        target = self._target(digest)
        with self.partials.temporary() as (path, file):
            file.write(data)
            file.flush()
            target.parent.mkdir(exist_ok=True)
            path.rename(target)

    def _publish_at_rest(self, temporary: Path, digest: Digest) -> None:
        """While nobody disposes of blobs."""
        with self.gate.keeping():
            self._publish(temporary, digest)

    def _publish(self, temporary: Path, digest: Digest) -> None:
        target = self._target(digest)
        with self.fuse.guard("storing a blob"):
            fresh = not target.parent.is_dir()
            target.parent.mkdir(exist_ok=True)
            temporary.rename(target)
            sync_folder(target.parent)
            if fresh:
                sync_folder(self._blobs)
