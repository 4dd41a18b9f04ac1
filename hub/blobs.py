"""The content-addressed store: a blob is its SHA-256, is there whole or not at all, and never changes.

Layout: `sha256/ab/<64 hex digits>` for blobs, `sealed/` for encrypted ones (`hub.vault`), `partial/` for what is still coming
in, `settling/` for small blobs whose files are not flushed yet, `damaged/` for what the disk has changed. Whatever is read is
hashed before its end is handed out. A disk that is full is a refusal; a flush that failed stops the hub (`hub.fuse`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from hub import places
from hub.aside import Aside
from hub.direct import DirectWriter
from hub.durable import raise_if_full, remove_left_behind
from hub.fuse import Fuse
from hub.gate import Gate
from hub.receiving import Receiving
from hub.settling import Settling
from hub.vault import Vault
from trust.digests import CHUNK, Digest, Hasher, digest_bytes, hex_of
from trust.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from trust.files import sync_folder

MAX_READ = 256 << 20

_log = logging.getLogger(__name__)


class Unreadable(Unavailable):
    """The disk does not give a blob's bytes."""


class BlobStore:
    """Blobs in a local directory."""

    def __init__(self, directory: Path, fuse: Fuse | None = None, seal_key: Path | None = None) -> None:
        self.fuse = fuse or Fuse()
        self.gate = Gate(directory / "purge.lock", self.fuse)
        self.vault = Vault(directory / "sealed", seal_key or directory / "seal.key", self.fuse)
        self._blobs = directory / "sha256"
        self._partial = directory / "partial"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._partial.mkdir(exist_ok=True)
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

    def open_plain(self, digest: Digest) -> IO[bytes]:
        """The blob's plain bytes to read, sealed or not. Raises `NotFound`, `Corrupt`, `Unavailable`."""
        return self.path(digest).open("rb")

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
            with _readable(digest):
                yield from self.vault.chunks(digest, offset)
            return
        hasher, held, position = Hasher(), b"", 0
        for chunk in self._pieces(digest):
            hasher.update(chunk)
            fresh = chunk[max(0, offset - position) :]
            position += len(chunk)
            if fresh:
                if held:
                    yield held
                held = fresh
        if hasher.digest() != digest:
            raise Corrupt(f"Blob {digest} was changed on the hub's disk.")
        if held:
            yield held

    def _pieces(self, digest: Digest) -> Iterator[bytes]:
        """The stored bytes as they are."""
        with _readable(digest), self.path(digest).open("rb") as file:
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
            if not self.sealed(digest) and _wrong(self.examine(digest)):
                moved.append(self._move_aside(digest))
            if self.vault.has(digest) and _wrong(self.vault.chunks(digest)) and self.vault.key_fits():
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
        return time.time() - max(_changed(self._target(digest)), _changed(self.vault.place(digest)))

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
            with self._temporary() as (path, file):
                file.write(data)
                self._settle(file)
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
        with source.open("rb") as incoming, self._temporary() as (path, file):
            while chunk := incoming.read(CHUNK):
                hasher.update(chunk)
                file.write(chunk)
            self._settle(file)
            with self.gate.keeping():
                self._publish(path, hasher.digest())
        return hasher.digest()

    def partial_size(self, owner: str, digest: Digest) -> int:
        """Bytes of `owner`'s unfinished upload that are here already."""
        path = self._partial_path(owner, digest)
        return path.stat().st_size if path.is_file() else 0

    def last_partial(self, owner: str) -> float:
        """When the last bytes of `owner`'s unfinished uploads came, in seconds since 1970; 0 when there are none."""
        return max(map(_changed, self._partial.glob(f"{owner}-*")), default=0.0)

    def partial_owners(self) -> set[str]:
        """Who has unfinished uploads."""
        return {path.name.rpartition("-")[0] for path in self._partial.glob("*-*")}

    def forget_partials(self, owner: str) -> None:
        """Drop `owner`'s unfinished uploads."""
        for path in self._partial.glob(f"{owner}-*"):
            path.unlink(missing_ok=True)

    def resumable(self, owner: str, digest: Digest, size: int, offset: int) -> Incoming:
        """Go on with an upload of `size` bytes at `offset`. Raises `Conflict` when that is not where it stopped.

        Every owner starts its own: who completes an upload has shown all of its bytes.
        """
        return Incoming(self, self._partial_path(owner, digest), digest, size, offset, keep=True)

    def incoming(self, digest: Digest, size: int) -> Incoming:
        """Receive `size` bytes in one go; what came of a cut is dropped."""
        return Incoming(self, self._partial / f"{secrets.token_hex(16)}.tmp", digest, size, 0, keep=False)

    def sweep(self, older: float = 0) -> None:
        """At start-up: complete the groups that a crash cut, drop what an interrupted `put` left; uploads may be resumed.

        Where several processes share the directory, what others write now must stay: only what is `older` (in seconds) goes.
        """
        remove_left_behind(self._partial, older)
        self._settling.recover(self._place_again)
        self.vault.sweep(older)

    def close(self) -> None:
        """Settle the groups that were put."""
        self._settling.close()
        self.vault.close()

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._blobs).free

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A file that is gone after a failure."""
        path = self._partial / f"{secrets.token_hex(16)}.tmp"
        try:
            with path.open("xb") as file:
                yield path, file
        except BaseException as error:
            path.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise_if_full(error)
            raise self.fuse.blow(f"writing a blob failed: {error.strerror or error}") from None

    def _partial_path(self, owner: str, digest: Digest) -> Path:
        return self._partial / f"{owner}-{hex_of(digest)}"

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
        with self._temporary() as (path, file):
            file.write(data)
            file.flush()
            target.parent.mkdir(exist_ok=True)
            path.rename(target)

    def _settle(self, file: IO[bytes]) -> None:
        """Write what is buffered (a full disk refuses that), then flush it."""
        file.flush()
        with self.fuse.guard("flushing a blob"):
            os.fsync(file.fileno())

    def _publish(self, temporary: Path, digest: Digest) -> None:
        target = self._target(digest)
        with self.fuse.guard("storing a blob"):
            fresh = not target.parent.is_dir()
            target.parent.mkdir(exist_ok=True)
            temporary.rename(target)
            sync_folder(target.parent)
            if fresh:
                sync_folder(self._blobs)


class Incoming(Receiving):
    """Bytes on their way in; a context manager. `finish` publishes them; leaving early keeps a resumable upload durable."""

    def __init__(self, store: BlobStore, path: Path, digest: Digest, size: int, offset: int, *, keep: bool) -> None:
        super().__init__(digest, size, offset)
        self._store, self._path, self._keep = store, path, keep
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
        try:
            self._lock()
            self._skip(offset)
            self._writer = DirectWriter(self._file.fileno(), offset)
        except BaseException:
            self._file.close()
            raise

    def finish(self) -> bool:
        """Publish when complete; False when bytes are still to come. Raises `Corrupt` and forgets a wrong upload."""
        if self.offset < self._size:
            return False
        self._store._settle(self._file)
        if self._hasher.digest() != self._digest:
            self._path.unlink(missing_ok=True)
            raise Corrupt(f"The bytes sent are not those of {self._digest}.", "Check the file and send it again.")
        self.verified()
        with nullcontext() if self._keep else self._store.gate.keeping():
            self._store._publish(self._path, self._digest)
        return True

    def _take(self, data: bytes) -> None:
        """A full disk refuses, any other failure stops the hub."""
        try:
            self._writer.write(data)
        except OSError as error:
            raise_if_full(error)
            raise self._store.fuse.blow(f"writing an upload failed: {error.strerror or error}") from None

    def _forget(self) -> None:
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        with suppress(Unavailable, OSError):
            self._store._settle(self._file)
        with suppress(OSError):
            self._file.close()
        if not self._keep:
            self._path.unlink(missing_ok=True)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"{self._digest} is being uploaded already.", "Wait for that upload to end.") from None
        if not self._path.exists() or self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino:
            raise Conflict(f"{self._digest} was just uploaded by somebody else.", "Open the submission again.")

    def _skip(self, offset: int) -> None:
        """Hash what is here already, so that the digest covers the whole."""
        here = os.fstat(self._file.fileno()).st_size
        if offset != here:
            raise Conflict(f"The upload of {self._digest} stands at byte {here}, not {offset}.", "Resume from there.")
        while chunk := self._file.read(CHUNK):
            self._hasher.update(chunk)


def _wrong(pieces: Iterable[object]) -> bool:
    """Whether what is stored is not what it should be: known once all of it was read."""
    try:
        for _ in pieces:
            pass
    except (Corrupt, Unreadable, OSError):
        return True
    except (NotFound, Unavailable):
        return False
    return False


@contextmanager
def _readable(digest: Digest) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:  # it went while we looked
        raise NotFound(f"There is no blob {digest}.") from None
    except OSError as error:
        raise Unreadable(f"The hub's disk does not give {digest}: {error.strerror}.", "Try again.") from None


def _changed(path: Path) -> float:
    """In seconds since 1970; 0 when it is not here, or gone since it was found."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
