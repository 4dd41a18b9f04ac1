"""Stored bytes are hashed while they are read: nobody gets the end of a blob that the disk has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from trust.digests import Digest, Hasher
from trust.errors import Corrupt, NotFound, Unavailable


class Unreadable(Unavailable):
    """The disk does not give a blob's bytes."""


@contextmanager
def readable(digest: Digest) -> Iterator[None]:
    """What the disk's refusals mean. Raises `NotFound`, `Unreadable`."""
    try:
        yield
    except FileNotFoundError:  # it went while we looked
        raise NotFound(f"There is no blob {digest}.") from None
    except OSError as error:
        raise Unreadable(f"The hub's disk does not give {digest}: {error.strerror}.", "Try again.") from None


def verified(digest: Digest, pieces: Iterable[bytes], offset: int) -> Iterator[bytes]:
    """What of a blob's `pieces` lies from `offset` on; the last comes only when the whole is right. Raises `Corrupt`."""
    hasher, held, position = Hasher(), b"", 0
    for chunk in pieces:
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


def wrong(pieces: Iterable[object]) -> bool:
    """Whether what is stored is not what it should be: known once all of it was read."""
    try:
        for _ in pieces:
            pass
    except (Corrupt, Unreadable, OSError):
        return True
    except (NotFound, Unavailable):
        return False
    return False
