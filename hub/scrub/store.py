"""The walk through the blob store: every stored byte is read and hashed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hub.blobs import BlobStore
from hub.reading import Unreadable
from hub.scrub.findings import Damage, Step, Walk
from trust.digests import Digest
from trust.errors import Corrupt, NotFound, Unavailable

CHANGED = "was changed on the disk"

Examine = Callable[[Digest], Iterator[int]]
"""Reads a blob piece by piece, with the size of each. Raises `Corrupt` for wrong bytes, `Unreadable`, `NotFound`."""


def walk_blobs(blobs: BlobStore, after: str = "") -> Walk:
    """Every blob behind the digest `after`, in order: a directory's files, or a bucket's objects.

    Raises `Unavailable` when the bucket is away.
    """
    for digest in blobs.stored(after):
        yield from _examined(digest, blobs.examine, after, sealed=False)
        after = digest


def walk_sealed(blobs: BlobStore, after: str = "") -> Walk:
    """Every sealed blob; without the seal key, none of them can be vouched for."""

    def examine(digest: Digest) -> Iterator[int]:
        return (len(chunk) for chunk in blobs.vault.chunks(digest))

    for digest in blobs.vault.stored(after):
        try:
            yield from _examined(digest, examine, after, sealed=True)
        except Unavailable as problem:
            what = f"cannot be opened: {problem.what.rstrip('.')}"
            yield Step(digest, 0, (Damage("blob", digest, what, sealed=True),))
        after = digest


def _examined(digest: Digest, examine: Examine, before: str, *, sealed: bool) -> Walk:
    """A walk that is cut in the middle of a blob begins with that blob again. One that is gone meanwhile is none of ours."""
    what = ""
    try:
        for size in examine(digest):
            yield Step(before, size)
    except Corrupt:
        what = CHANGED
    except (Unreadable, OSError):
        what = "cannot be read from the disk"
    except NotFound:
        pass
    yield Step(digest, 0, (Damage("blob", digest, what, sealed=sealed),) if what else ())
