"""A node's blobs by digest, up to a size: what was not used for the longest goes first, and what the present task uses stays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trust.digests import Digest, digest_file, hex_of, parse_digest

HEX = 64  # digits of a digest


class Cache:
    """`folder/HEX`; a file's modification time is when it was used last. Parts of downloads are `.HEX.*`."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._in_use: set[str] = set()

    def begin(self) -> None:
        """A new task: what earlier ones used may go."""
        self._in_use.clear()

    def path(self, digest: Digest) -> Path:
        return self._folder / hex_of(digest)

    def take(self, digest: Digest) -> Path | None:
        """A blob that is here and sound, for the present task; a damaged one is removed."""
        path = self.path(digest)
        if not path.exists():
            return None
        if digest_file(path) != digest:
            path.unlink()
            return None
        return self.use(digest)

    def use(self, digest: Digest) -> Path:
        """A blob that is known to be sound, for the present task."""
        path = self.path(digest)
        self._in_use.add(path.name)
        os.utime(path)
        return path

    def make_room(self, size: int) -> None:
        """For so many bytes more, as far as what is in use lets it."""
        files = sorted(self._blobs(), key=lambda path: path.stat().st_mtime)
        kept = sum(path.stat().st_size for path in files)
        for path in files:
            if kept + size <= self._limit:
                return
            if path.name not in self._in_use:
                kept -= path.stat().st_size
                path.unlink()

    def digests(self) -> list[str]:
        """Of what lies here, whole or in part."""
        names = {path.name.lstrip(".").partition(".")[0] for path in self._folder.glob("*")}
        return [f"sha256:{name}" for name in sorted(names) if len(name) == HEX]

    def drop(self, digests: Iterable[str]) -> None:
        for digest in digests:
            name = hex_of(parse_digest(digest))
            for path in (self._folder / name, *self._folder.glob(f".{name}.*")):
                path.unlink(missing_ok=True)

    def _blobs(self) -> Iterator[Path]:
        return (path for path in self._folder.glob("[0-9a-f]*") if len(path.name) == HEX)
