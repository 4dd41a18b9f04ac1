"""Blobs in an object store (S3, Google Cloud Storage, Azure) by URL. The local directory is its spool and its cache.

The promises are those of the directory: a blob appears whole or not at all (objects do), under its digest, and is verified
when it is fetched. What arrives is gathered in the spool, so that uploads resume; it is a blob once the bucket has taken it, and
nothing is acknowledged before. A bucket that is away refuses: that is no reason to stop the hub.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import from_url

from hub import places
from hub.aside import DAMAGED
from hub.blobs import MAX_READ, BlobStore
from hub.fuse import Fuse
from trust.digests import CHUNK, Digest, Hasher, digest_bytes, digest_file, hex_of
from trust.errors import Corrupt, Invalid, NotFound, Unavailable

PART = 16 << 20
"""Larger blobs go in parts of this size."""
PARTS_AT_ONCE = 4
PUTS_AT_ONCE = 16
CACHE = 64 << 30
"""Bytes that the cache may hold before what nobody used for IDLE seconds is dropped."""
IDLE = 3600.0
_RETRIES = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}


def open_blobs(url: str, directory: Path, fuse: Fuse, seal_key: Path) -> BlobStore:
    """The store at a URL, or in the directory when there is none. Raises `Invalid` for a URL that cannot be used."""
    return ObjectBlobStore(url, directory, fuse, seal_key) if url else BlobStore(directory, fuse, seal_key)


class ObjectBlobStore(BlobStore):
    """Objects `sha256/ab/<64 hex digits>`, as the directory names its files: what copies one copies the other.

    Sealed blobs stay in the directory's vault: nobody who keeps the bucket has even their encrypted bytes.
    """

    def __init__(
        self,
        url: str,
        directory: Path,
        fuse: Fuse | None = None,
        seal_key: Path | None = None,
        cache_bytes: int = CACHE,
    ) -> None:
        super().__init__(directory, fuse, seal_key)
        self._bucket: Any = _bucket(url)
        self._limit, self._fetched = cache_bytes, 0
        self._pool = ThreadPoolExecutor(PUTS_AT_ONCE, "bucket")

    def has(self, digest: Digest) -> bool:
        return super().has(digest) or self._remote_size(digest) is not None

    def size(self, digest: Digest) -> int:
        """Raises `NotFound`."""
        if super().has(digest):
            return super().size(digest)
        size = self._remote_size(digest)
        if size is None:
            raise NotFound(f"There is no blob {digest}.")
        return size

    def path(self, digest: Digest) -> Path:
        """The blob in the cache, fetched and verified if it was not there. Raises `NotFound`, `Corrupt`, `Unavailable`."""
        if self.sealed(digest):
            return super().path(digest)
        path = self._target(digest)
        try:
            os.utime(path)
        except FileNotFoundError:
            self._fetch(digest)
        return path

    def read(self, digest: Digest, max_bytes: int = MAX_READ) -> bytes:
        if self.size(digest) > max_bytes:
            raise Invalid(f"Blob {digest} has more than {max_bytes} bytes.")
        try:
            return super().read(digest, max_bytes)
        except Corrupt:
            if self.sealed(digest):
                raise
            return super().read(digest, max_bytes)  # the cache was damaged: the bucket's copy counts

    def chunks(self, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """As in a directory; a cached copy that was damaged is dropped, and the bucket's is read the next time."""
        try:
            yield from super().chunks(digest, offset)
        except Corrupt:
            if not self.sealed(digest):
                self._target(digest).unlink(missing_ok=True)
            raise

    def examine(self, digest: Digest) -> Iterator[int]:
        """Hash the bucket's bytes again, whatever the cache holds."""
        if self.sealed(digest):
            yield from super().examine(digest)
            return
        hasher = Hasher()
        for chunk in self._stream(digest):
            hasher.update(chunk)
            yield len(chunk)
        if hasher.digest() != digest:
            raise Corrupt(f"Blob {digest} was changed in the object store.")

    def stored(self, after: str = "") -> Iterator[Digest]:
        """As the bucket lists them, which S3 does in order."""
        start = _key(Digest(after)) if after else None
        with _asked("list"):
            for page in obstore.list(self._bucket, "sha256/", offset=start):
                yield from places.digests(meta["path"].rpartition("/")[2] for meta in page)

    def was_set_aside(self, digest: Digest) -> bool:
        return super().was_set_aside(digest) or self._size_of(_aside(digest)) is not None

    def _move_aside(self, digest: Digest) -> str:
        """A right copy in the cache takes the place of the bucket's."""
        with _asked("move", digest):
            obstore.rename(self._bucket, _key(digest), _aside(digest), overwrite=True)
        cached = self._target(digest)
        if cached.is_file() and digest_file(cached) == digest:
            self._to_bucket(cached, digest)
        else:
            cached.unlink(missing_ok=True)
        return _aside(digest)

    def drop(self, digest: Digest) -> None:
        super().drop(digest)
        self._drop_key(digest, _aside(digest))

    def _drop_plain(self, digest: Digest) -> None:
        """From the cache, then from the bucket: what is in the cache is in the bucket."""
        super()._drop_plain(digest)
        self._drop_key(digest, _key(digest))

    def _drop_key(self, digest: Digest, key: str) -> None:
        with suppress(NotFound), _asked("delete", digest):
            obstore.delete(self._bucket, key)

    def put_group(self, blobs: Iterable[bytes]) -> None:
        """Store many small blobs, side by side; all are in the bucket when this returns. Raises `Unavailable`."""
        fresh = {digest_bytes(data): data for data in blobs}
        with self.gate.keeping():
            list(self._pool.map(self._put_if_new, fresh, fresh.values()))

    def sweep(self, older: float = 0) -> None:
        super().sweep(older)
        self._make_room()

    def close(self) -> None:
        super().close()
        self._pool.shutdown()

    def _touch(self, digest: Digest) -> None:
        """The cache remembers what was relied on: it drops nothing that was, within `IDLE` seconds."""
        if self.sealed(digest):
            super()._touch(digest)
        else:
            self.path(digest)

    def _put_if_new(self, digest: Digest, data: bytes) -> None:
        if not self._stored(digest):
            self._upload(digest, data)
            self._place(digest, data)

    def _publish(self, temporary: Path, digest: Digest) -> None:
        """First the bucket, then the cache: what is in the cache is in the bucket."""
        self._to_bucket(temporary, digest)
        super()._publish(temporary, digest)

    def _to_bucket(self, temporary: Path, digest: Digest) -> None:
        if temporary.stat().st_size > PART:
            with _asked("store"), temporary.open("rb") as file:
                obstore.put(
                    self._bucket, _key(digest), file, use_multipart=True, chunk_size=PART, max_concurrency=PARTS_AT_ONCE
                )
        else:
            self._upload(digest, temporary.read_bytes())

    def _upload(self, digest: Digest, data: bytes) -> None:
        """An object that is there already is not written again, unless it is not as long as it should be."""
        with _asked("store"):
            try:
                obstore.put(self._bucket, _key(digest), data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                if self._remote_size(digest) != len(data):
                    obstore.put(self._bucket, _key(digest), data, mode="overwrite", use_multipart=False)

    def _fetch(self, digest: Digest) -> None:
        hasher = Hasher()
        with self.partials.temporary() as (path, file):
            for chunk in self._stream(digest):
                hasher.update(chunk)
                file.write(chunk)
            if hasher.digest() != digest:
                raise Corrupt(f"Blob {digest} was changed in the object store.")
            self.partials.settle(file)
            self._fetched += file.tell()
            super()._publish(path, digest)
        if self._fetched > self._limit // 10:
            self._make_room()

    def _stream(self, digest: Digest) -> Iterator[bytes]:
        with _asked("give", digest):
            for chunk in obstore.get(self._bucket, _key(digest)).stream(min_chunk_size=CHUNK):
                yield bytes(chunk)

    def _remote_size(self, digest: Digest) -> int | None:
        return self._size_of(_key(digest))

    def _size_of(self, key: str) -> int | None:
        with suppress(NotFound), _asked("look for"):
            return int(obstore.head(self._bucket, key)["size"])
        return None

    def _make_room(self) -> None:
        """Drop from the cache what was not used for the longest time, but nothing that may be in use."""
        self._fetched = 0
        found = sorted((path.stat().st_mtime, path) for path in self._blobs.glob("*/*"))
        excess = sum(path.stat().st_size for _, path in found) - self._limit
        for used, path in found:
            if excess <= 0 or time.time() - used < IDLE:
                return
            excess -= path.stat().st_size
            path.unlink()


def _bucket(url: str) -> Any:
    """S3 is asked to check each part against its SHA-256. Credentials come from the provider's own variables."""
    config: dict[str, Any] = {"checksum_algorithm": "SHA256"} if url.startswith("s3") else {}
    try:
        return from_url(url, config=config, retry_config=_RETRIES)  # type: ignore[call-overload]
    except (BaseError, ValueError) as error:
        raise Invalid(
            f"{url[:200]!r} is no object store: {error}.", "Write s3://BUCKET/PREFIX, gs:// or az://."
        ) from None


def _key(digest: Digest) -> str:
    return str(places.place(Path("sha256"), digest))


def _aside(digest: Digest) -> str:
    return f"{DAMAGED}/{hex_of(digest)}"


@contextmanager
def _asked(verb: str, digest: Digest | None = None) -> Iterator[None]:
    """What the bucket's refusals mean to us."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"There is no blob {digest}.") from None
    except (BaseError, TimeoutError, ConnectionError) as error:
        first = str(error).strip().splitlines()[0][:200]
        raise Unavailable(f"The object store did not {verb} a blob: {first}.", "Check it, then try again.") from None
