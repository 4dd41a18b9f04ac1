"""Where a blob lies under a directory, by its digest: `ab/<64 hex digits>`. The store, the vault, buckets and mirrors agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from trust.digests import Digest, hex_of

_NAME = re.compile("[0-9a-f]{64}")


def place(directory: Path, digest: Digest) -> Path:
    name = hex_of(digest)
    return directory / name[:2] / name


def stored(directory: Path, after: str = "") -> Iterator[Digest]:
    """Every blob there in the order of the digests, from behind the digest `after` on; other files are no blobs.

    A folder is listed when its turn comes: memory holds one in 256 of the names.
    """
    first = after.removeprefix("sha256:")
    for folder in sorted(directory.glob("??")):
        if folder.name >= first[:2]:
            yield from digests(sorted(path.name for path in folder.iterdir() if path.name > first))


def digests(names: Iterable[str]) -> Iterator[Digest]:
    """Of the names that are a blob's."""
    return (Digest(f"sha256:{name}") for name in names if _NAME.fullmatch(name))
