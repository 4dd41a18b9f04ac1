"""Sealed blobs: encrypted at rest, found by the digest of their plain bytes, opened in memory only.

A file is a header (format, 16 random bytes) and chunks of 64 KiB, each AES-256-GCM with its tag. The key is the blob's own,
by HKDF-SHA256 from the hub's secret with the random bytes as salt and the digest as info; the nonce is the chunk's number
and whether it is the last. That is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar: "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015) as age uses it: no chunk can be dropped, moved or
taken from another blob.

Whoever needs a path gets one on a file system in memory; it is gone with the machine's memory, and swept at the next start.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hub import places
from hub.durable import raise_if_full, remove_left_behind
from hub.fuse import Fuse
from hub.receiving import Receiving
from trust.digests import Digest, Hasher, digest_bytes, hex_of
from trust.errors import Conflict, Corrupt, NotFound, Problem, Unavailable
from trust.files import sync_folder, write_private

HEADER = b"coalition-sealed/v1\n"
CHUNK = 64 << 10
TAG = 16
SALT = 16
_NONCE = 12
MAX_OPEN = 512 << 20
_START = len(HEADER) + SALT
_MEMORY = Path("/dev/shm")  # noqa: S108


class Vault:
    """Sealed blobs in `directory`, under the secret in the file `key`, which is made with the first blob."""

    def __init__(self, directory: Path, key: Path, fuse: Fuse) -> None:
        self._directory, self._key, self.fuse = directory, key, fuse
        self._opened: OrderedDict[Digest, Path] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, digest: Digest) -> bool:
        return self.place(digest).is_file()

    def size(self, digest: Digest) -> int:
        """Plain bytes. Raises `NotFound`."""
        body = self._file(digest).stat().st_size - _START
        return max(0, body - TAG * -(-body // (CHUNK + TAG)))

    def chunks(self, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The plain bytes from `offset` on. Raises `NotFound`, `Corrupt` for a changed file, `Unavailable` without the key."""
        size = self.size(digest)
        if 0 < size <= offset:
            return
        number, skip = divmod(offset, CHUNK)
        with self._file(digest).open("rb") as file:
            cipher = self._cipher(digest, self._head(file.read(_START), digest))
            file.seek(_START + number * (CHUNK + TAG))
            last = False
            while not last:  # once at least: a file that was cut to its header has no last chunk
                last = (number + 1) * CHUNK >= size
                try:
                    plain = cipher.decrypt(_nonce(number, last), file.read(CHUNK + TAG), None)
                except InvalidTag:
                    raise Corrupt(
                        f"The sealed blob {digest} was changed, or sealed with another key than {self._key.name}."
                    ) from None
                if plain[skip:]:
                    yield plain[skip:]
                number, skip = number + 1, 0

    def path(self, digest: Digest) -> Path:
        """The plain bytes as a file in memory, for a while: open it soon. Raises as `chunks`."""
        with self._lock:
            if (found := self._opened.get(digest)) is not None and found.is_file():
                self._opened.move_to_end(digest)
                return found
            self._make_room(self.size(digest))
            folder = self._memory()
            target, hasher = folder / hex_of(digest), Hasher()
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                try:
                    for chunk in self.chunks(digest):
                        hasher.update(chunk)
                        file.write(chunk)
                    file.flush()
                    if hasher.digest() != digest:
                        raise Corrupt(f"The sealed blob {digest} does not hold its bytes.")
                except (Problem, OSError) as error:
                    target.unlink(missing_ok=True)
                    if isinstance(error, OSError):
                        raise Unavailable(f"There is no memory to open {digest}: {error.strerror}.") from None
                    raise
            self._opened[digest] = target
            return target

    def incoming(self, digest: Digest, size: int, offset: int) -> Sealing:
        """Receive a blob in one go, encrypted as it comes. Raises `Conflict` for a resumed one, `Unavailable` without a key."""
        if offset:
            raise Conflict("What is sealed is sent in one go.", "Start over at byte 0.")
        self._directory.mkdir(mode=0o700, exist_ok=True)
        salt = secrets.token_bytes(SALT)
        return Sealing(self, self._cipher(digest, salt, fresh=True), salt, digest, size)

    def put(self, digest: Digest, data: bytes) -> None:
        """Seal what is at hand, durably. Raises `Unavailable` without a key, or when the disk is full or fails."""
        with self.incoming(digest, len(data), 0) as sealing:
            sealing.write(data)
            sealing.finish()

    def key_for(self, purpose: str) -> bytes:
        """A key for what follows from sealed blobs and lies elsewhere (`enclose`). Raises `Unavailable` without the secret."""
        return HKDF(SHA256(), 32, None, b"coalition " + purpose.encode()).derive(self._secret(make=False))

    def sweep(self, older: float = 0) -> None:
        """At start-up: drop what was cut short (and is `older`, in seconds), and what processes that are gone had opened."""
        remove_left_behind(self._directory, older)
        for folder in _MEMORY.glob(self._plain("*")):
            if not Path("/proc", folder.name.rpartition("-")[2]).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Forget what is open."""
        with self._lock:
            self._opened.clear()
            shutil.rmtree(_MEMORY / self._plain(os.getpid()), ignore_errors=True)

    def forget(self, digest: Digest) -> Path:
        """Drop what any process of this hub has opened of it in memory; where it lies."""
        with self._lock:
            self._opened.pop(digest, None)
            for folder in _MEMORY.glob(self._plain("*")):
                (folder / hex_of(digest)).unlink(missing_ok=True)
        return self.place(digest)

    def place(self, digest: Digest) -> Path:
        """Where it lies, if it is here."""
        return places.place(self._directory, digest)

    def stored(self, after: str = "") -> Iterator[Digest]:
        """Every sealed blob, in the order of the digests, from behind the digest `after` on."""
        return places.stored(self._directory, after)

    def key_fits(self) -> bool:
        """Whether a chunk of any sealed blob opens: if none does, it may be the key that is wrong. Raises `Unavailable`."""
        return any(self._opens_somewhere(digest) for digest in self.stored())

    def _opens_somewhere(self, digest: Digest) -> bool:
        for offset in range(0, self.size(digest), CHUNK):
            with suppress(Corrupt, OSError):
                next(self.chunks(digest, offset))
                return True
        return False

    def temporary(self) -> Path:
        return self._directory / f"{secrets.token_hex(16)}.tmp"

    def _file(self, digest: Digest) -> Path:
        path = self.place(digest)
        if not path.is_file():
            raise NotFound(f"There is no blob {digest}.")
        return path

    def _head(self, head: bytes, digest: Digest) -> bytes:
        if len(head) != _START or not head.startswith(HEADER):
            raise Corrupt(f"The sealed blob {digest} was changed.")
        return head[len(HEADER) :]

    def _cipher(self, digest: Digest, salt: bytes, *, fresh: bool = False) -> AESGCM:
        info = b"coalition sealed blob " + digest.encode()
        return AESGCM(HKDF(SHA256(), 32, salt, info).derive(self._secret(make=fresh)))

    def _secret(self, *, make: bool) -> bytes:
        """Raises `Unavailable` when it is lost: a new one would hide that what is sealed cannot be opened."""
        try:
            secret = self._key.read_bytes()
        except FileNotFoundError:
            if not make or any(self._directory.glob("??/*")):
                raise Unavailable(
                    f"The seal key {self._key} is lost: sealed suites cannot be read.", "Restore it from a backup."
                ) from None
            write_private(self._key, secrets.token_bytes(32))
            secret = self._key.read_bytes()
        if len(secret) != 32:
            raise Unavailable(f"{self._key} is not a seal key of 32 bytes.", "Restore it from a backup.")
        return secret

    def _plain(self, process: int | str) -> str:
        """What this hub's processes call their folders in memory."""
        return f"coalition-{digest_bytes(str(self._directory.absolute()).encode())[7:31]}-{process}"

    def _memory(self) -> Path:
        folder = _MEMORY / self._plain(os.getpid())
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"Sealed blobs are opened in {_MEMORY}, which cannot be: {error.strerror}.") from None
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise Unavailable(f"{folder} is not this hub's own.", "Remove it.")
        return folder

    def _make_room(self, size: int) -> None:
        """Forget what was opened longest ago; who has it open reads on."""
        sizes = {digest: path.stat().st_size for digest, path in self._opened.items() if path.is_file()}
        while self._opened and sum(sizes.values()) + size > MAX_OPEN:
            digest, path = self._opened.popitem(last=False)
            path.unlink(missing_ok=True)
            sizes.pop(digest, None)


class Sealing(Receiving):
    """Bytes on their way into the vault; a context manager. Leaving before `finish` drops them."""

    def __init__(self, vault: Vault, cipher: AESGCM, salt: bytes, digest: Digest, size: int) -> None:
        super().__init__(digest, size)
        self._vault, self._cipher = vault, cipher
        self._path = vault.temporary()
        self._pending = bytearray()
        self._number = 0
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._file.write(HEADER + salt)

    def _take(self, data: bytes) -> None:
        self._pending += data
        while len(self._pending) > CHUNK:
            self._seal(bytes(self._pending[:CHUNK]), last=False)
            del self._pending[:CHUNK]

    def _forget(self) -> None:
        """Nothing of it is kept in any case."""

    def _close(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)

    def finish(self) -> bool:
        """Publish when complete; False when bytes are still to come. Raises `Corrupt` for other bytes than announced."""
        if self.offset < self._size:
            return False
        if self._hasher.digest() != self._digest:
            raise Corrupt(f"The bytes sent are not those of {self._digest}.", "Check the file and send it again.")
        self.verified()
        self._seal(bytes(self._pending), last=True)
        with self._vault.fuse.guard("storing a sealed blob"):
            self._file.flush()
            os.fsync(self._file.fileno())
            target = self._vault.place(self._digest)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.rename(target)
            sync_folder(target.parent)
            sync_folder(target.parent.parent)
            sync_folder(target.parent.parent.parent)
        return True

    def _seal(self, plain: bytes, *, last: bool) -> None:
        try:
            self._file.write(self._cipher.encrypt(_nonce(self._number, last), plain, None))
        except OSError as error:
            raise_if_full(error)
            raise self._vault.fuse.blow(f"writing a sealed blob failed: {error.strerror or error}") from None
        self._number += 1


def enclose(key: bytes, data: bytes) -> bytes:
    """`data` under a key of `Vault.key_for`: 12 random bytes, then AES-256-GCM."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, data, None)


def disclose(key: bytes, enclosed: bytes) -> bytes:
    """The other way. Raises `Corrupt` for changed bytes, and for another key."""
    try:
        return AESGCM(key).decrypt(enclosed[:_NONCE], enclosed[_NONCE:], None)
    except (InvalidTag, ValueError):
        raise Corrupt("What follows from a sealed suite was changed, or enclosed with another seal key.") from None


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
