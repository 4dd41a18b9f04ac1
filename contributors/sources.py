"""Where a ledger is read from: a hub over the wire, or a hub's directory on a disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from contributors.client import Coalition
from contributors.witness.standing import standing
from trust.digests import Digest, digest_bytes, digest_file, hex_of, parse_digest
from trust.dsse import MAX_ENVELOPE
from trust.errors import Corrupt, Invalid, NotFound

MAX_BLOB = 64 << 20


class Source(Protocol):
    """A ledger and its blobs. Who is `live` has the newest of it; files may be an older copy."""

    @property
    def live(self) -> bool: ...

    def read_tile(self, path: str) -> bytes: ...

    def read_tree_head(self) -> bytes: ...

    def read_envelope(self, digest: Digest) -> bytes: ...

    def read_blob(self, digest: Digest) -> bytes:
        """A blob of moderate size, verified. Raises `NotFound` where we may not read it, `Corrupt`."""

    def read_witnessed(self) -> bytes:
        """The newest tree head with a quorum of cosignatures; empty when there is none."""

    def check_blob(self, digest: Digest) -> str:
        """`verified` when we hashed the bytes, `vouched` when only the hub did. Raises `Corrupt`, `NotFound`."""

    def others(self, named: Collection[Digest]) -> Iterable[Digest]:
        """Blobs that lie there and no statement names, where the source can tell."""

    def leftovers(self) -> Iterable[str]:
        """What does not hold among files that the present tree no longer needs."""


@dataclass(frozen=True)
class HubSource:
    """Over gRPC. Blobs that we may not read are hashed by the hub, and counted apart."""

    hub: Coalition
    live = True

    def read_tile(self, path: str) -> bytes:
        return self.hub.tile(path)

    def read_tree_head(self) -> bytes:
        return self.hub.head().note

    def read_envelope(self, digest: Digest) -> bytes:
        return self.hub.blob(digest, MAX_ENVELOPE)

    def read_blob(self, digest: Digest) -> bytes:
        return self.hub.blob(digest, MAX_BLOB)

    def read_witnessed(self) -> bytes:
        return standing(self.hub).witnessed

    def check_blob(self, digest: Digest) -> str:
        try:
            intact, how = self.hub.blob_serves_right_bytes(digest), "verified"
        except NotFound:
            intact, how = self.hub.blob_intact(digest), "vouched"
        if not intact:
            raise Corrupt(f"The hub's blob {digest} was changed.")
        return how

    def others(self, named: Collection[Digest]) -> Iterable[Digest]:
        return ()

    def leftovers(self) -> Iterable[str]:
        return ()


@dataclass(frozen=True)
class StoreSource:
    """From a hub's directory: `ledger/` in the C2SP layout and `blobs/sha256/`."""

    directory: Path
    live = False

    def read_tile(self, path: str) -> bytes:
        try:
            return (self.directory / "ledger" / path).read_bytes()
        except OSError:
            raise NotFound(f"{self.directory / 'ledger' / path} is missing.") from None

    def read_tree_head(self) -> bytes:
        return self.read_tile("checkpoint")

    def read_envelope(self, digest: Digest) -> bytes:
        path = self._path(digest)
        data = path.read_bytes() if path.stat().st_size <= MAX_ENVELOPE else b""
        if digest_bytes(data) != digest:
            raise Corrupt(f"The blob {digest} was changed.")
        return data

    def read_blob(self, digest: Digest) -> bytes:
        path = self._path(digest)
        if path.stat().st_size > MAX_BLOB:
            raise Invalid(f"Blob {digest} has more than {MAX_BLOB} bytes.")
        data = path.read_bytes()
        if digest_bytes(data) != digest:
            raise Corrupt(f"The blob {digest} was changed.")
        return data

    def read_witnessed(self) -> bytes:
        try:
            return self.read_tile("checkpoint.witnessed")
        except NotFound:
            return b""

    def check_blob(self, digest: Digest) -> str:
        """What is sealed has to be there; only the hub can open it."""
        name = hex_of(digest)
        if (self.directory / "blobs" / "sealed" / name[:2] / name).is_file():
            return "vouched"
        if digest_file(self._path(digest)) != digest:
            raise Corrupt(f"The blob {digest} was changed.")
        return "verified"

    def others(self, named: Collection[Digest]) -> Iterable[Digest]:
        names = (path.name for path in (self.directory / "blobs" / "sha256").glob("??/*"))
        return sorted({parse_digest(f"sha256:{name}") for name in names} - set(named))

    def leftovers(self) -> Iterable[str]:
        """Partial tiles of smaller trees: each must be where a wider one of the same tile begins."""
        for folder in sorted((self.directory / "ledger" / "tile").rglob("*.p")):
            tiles = [path.read_bytes() for path in sorted(folder.iterdir(), key=lambda path: int(path.name))]
            full = folder.with_suffix("")
            widest = full.read_bytes() if full.exists() else tiles[-1]
            if not all(widest.startswith(tile) for tile in tiles):
                yield f"A tile in {folder} was changed."

    def place(self, digest: Digest) -> Path:
        """Where a blob lies, if it is here."""
        name = hex_of(digest)
        return self.directory / "blobs" / "sha256" / name[:2] / name

    def _path(self, digest: Digest) -> Path:
        path = self.place(digest)
        if not path.is_file():
            raise NotFound(f"The blob {digest} is missing.")
        return path


@dataclass(frozen=True)
class MirrorSource(StoreSource):
    """From a member's mirror: a hub's layout, with the blobs that the member may read."""

    def check_blob(self, digest: Digest) -> str:
        try:
            return super().check_blob(digest)
        except NotFound:
            return "absent"
