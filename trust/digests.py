"""SHA-256 digests in the one spelling of the coalition, `sha256:<64 lower-case hex digits>` (FIPS 180-4)."""

from __future__ import annotations

import hashlib
import re
from mmap import mmap
from os import PathLike
from typing import NewType

from trust.errors import Invalid

Digest = NewType("Digest", str)

CHUNK = 1 << 20
_FORM = re.compile(r"sha256:[0-9a-f]{64}")


class Hasher:
    """A digest that grows with the bytes that pass by."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._sha256.update(data)

    def digest(self) -> Digest:
        return Digest(f"sha256:{self._sha256.hexdigest()}")

    def prefix(self) -> bytes:
        """The SHA-256, as 32 bytes, of what passed so far; more may follow."""
        return self._sha256.copy().digest()


def digest_bytes(data: bytes | bytearray | memoryview | mmap) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def digest_file(path: str | PathLike[str]) -> Digest:
    """Digest a file's content in chunks of 1 MiB, so that its size never matters to memory."""
    hasher = Hasher()
    buffer = memoryview(bytearray(CHUNK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
    return hasher.digest()


def parse_digest(text: str) -> Digest:
    """Accept the canonical spelling and nothing else: no upper case, no other algorithm, no space around it."""
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        raise Invalid(f"{str(text)[:90]!r} is not a digest of the form sha256:<64 lower-case hex digits>.")
    return Digest(text)


def hex_of(digest: Digest) -> str:
    return parse_digest(digest).removeprefix("sha256:")
