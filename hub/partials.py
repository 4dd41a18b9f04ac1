"""What is still coming into the store: uploads that may go on where they stopped, and temporary files, which may not.

Layout: `partial/OWNER-<64 hex digits>` for uploads, each sender's its own, and `partial/*.tmp`.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hub.direct import DirectWriter
from hub.durable import raise_if_full, remove_left_behind
from hub.fuse import Fuse
from hub.receiving import Receiving
from trust.digests import CHUNK, Digest, hex_of
from trust.errors import Conflict, Corrupt, Unavailable


class Partials:
    """The folder of them."""

    def __init__(self, directory: Path, fuse: Fuse) -> None:
        self._directory, self.fuse = directory, fuse
        directory.mkdir(exist_ok=True)

    def upload(self, owner: str, digest: Digest) -> Path:
        """Where `owner`'s upload lies, begun or not."""
        return self._directory / f"{owner}-{hex_of(digest)}"

    def size(self, owner: str, digest: Digest) -> int:
        """Bytes of `owner`'s unfinished upload that are here already."""
        path = self.upload(owner, digest)
        return path.stat().st_size if path.is_file() else 0

    def last(self, owner: str) -> float:
        """When the last bytes of `owner`'s unfinished uploads came, in seconds since 1970; 0 when there are none."""
        return max(map(changed, self._directory.glob(f"{owner}-*")), default=0.0)

    def owners(self) -> set[str]:
        """Who has unfinished uploads."""
        return {path.name.rpartition("-")[0] for path in self._directory.glob("*-*")}

    def forget(self, owner: str) -> None:
        """Drop `owner`'s unfinished uploads."""
        for path in self._directory.glob(f"{owner}-*"):
            path.unlink(missing_ok=True)

    def fresh(self) -> Path:
        """Where a temporary file may be made."""
        return self._directory / f"{secrets.token_hex(16)}.tmp"

    @contextmanager
    def temporary(self) -> Iterator[tuple[Path, IO[bytes]]]:
        """A file that is gone after a failure."""
        path = self.fresh()
        try:
            with path.open("xb") as file:
                yield path, file
        except BaseException as error:
            path.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            raise_if_full(error)
            raise self.fuse.blow(f"writing a blob failed: {error.strerror or error}") from None

    def settle(self, file: IO[bytes]) -> None:
        """Write what is buffered (a full disk refuses that), then flush it."""
        file.flush()
        with self.fuse.guard("flushing a blob"):
            os.fsync(file.fileno())

    def sweep(self, older: float) -> None:
        """Remove the temporary files that a crash left, if they are `older` than so many seconds."""
        remove_left_behind(self._directory, older)


class Incoming(Receiving):
    """Bytes on their way in; a context manager. `finish` publishes them; leaving early keeps a resumable upload durable.

    `publish` makes a blob of the file at a path.
    """

    def __init__(
        self,
        partials: Partials,
        publish: Callable[[Path, Digest], None],
        path: Path,
        digest: Digest,
        size: int,
        offset: int,
        *,
        keep: bool,
    ) -> None:
        super().__init__(digest, size, offset)
        self._partials, self._publish, self._path, self._keep = partials, publish, path, keep
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
        self._partials.settle(self._file)
        if self._hasher.digest() != self._digest:
            self._path.unlink(missing_ok=True)
            raise Corrupt(f"The bytes sent are not those of {self._digest}.", "Check the file and send it again.")
        self.verified()
        self._publish(self._path, self._digest)
        return True

    def _take(self, data: bytes) -> None:
        """A full disk refuses, any other failure stops the hub."""
        try:
            self._writer.write(data)
        except OSError as error:
            raise_if_full(error)
            raise self._partials.fuse.blow(f"writing an upload failed: {error.strerror or error}") from None

    def _forget(self) -> None:
        self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        with suppress(Unavailable, OSError):
            self._partials.settle(self._file)
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


def changed(path: Path) -> float:
    """In seconds since 1970; 0 when it is not here, or gone since it was found."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
