"""Checking the whole ledger: every entry, every signature, every blob. Over the wire, or offline from a hub's directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from contributors.client import Coalition
from protos.documents import statements
from protos.documents.base import Claim
from protos.documents.evaluations import Evaluation
from protos.documents.leaf import Leaf
from protos.documents.members import Member
from protos.documents.models import Model, Release
from protos.documents.runs import Checkpoint
from protos.documents.statements import HUB
from trust.audit import Audit, verify_log
from trust.digests import Digest, digest_bytes, digest_file, hex_of
from trust.errors import Corrupt, NotFound, Problem
from trust.keys import ArtifactPublicKey, LogPublicKey
from trust.notes import TreeHead
from trust.statements import payload_digest, verify_statement

MAX_ENVELOPE = 4 << 20


class Source(Protocol):
    """A ledger and its blobs."""

    def read_tile(self, path: str) -> bytes: ...

    def read_tree_head(self) -> bytes: ...

    def read_envelope(self, digest: Digest) -> bytes: ...

    def check_blob(self, digest: Digest) -> str:
        """`verified` when we hashed the bytes, `vouched` when only the hub did. Raises `Corrupt`, `NotFound`."""


@dataclass(frozen=True)
class HubSource:
    """Over gRPC. Blobs that we may not read are hashed by the hub, and counted apart."""

    hub: Coalition

    def read_tile(self, path: str) -> bytes:
        return self.hub.tile(path)

    def read_tree_head(self) -> bytes:
        return self.hub.head().note

    def read_envelope(self, digest: Digest) -> bytes:
        return self.hub.blob(digest, MAX_ENVELOPE)

    def check_blob(self, digest: Digest) -> str:
        try:
            intact, how = self.hub.blob_serves_right_bytes(digest), "verified"
        except NotFound:
            intact, how = self.hub.blob_intact(digest), "vouched"
        if not intact:
            raise Corrupt(f"The hub's blob {digest} was changed.")
        return how


@dataclass(frozen=True)
class StoreSource:
    """From a hub's directory: `ledger/` in the C2SP layout and `blobs/sha256/`."""

    directory: Path

    def read_tile(self, path: str) -> bytes:
        try:
            return (self.directory / "ledger" / path).read_bytes()
        except OSError:
            raise NotFound(f"{self.directory / 'ledger' / path} is missing.") from None

    def read_tree_head(self) -> bytes:
        return self.read_tile("checkpoint")

    def read_envelope(self, digest: Digest) -> bytes:
        data = self._path(digest).read_bytes()
        if digest_bytes(data) != digest:
            raise Corrupt(f"The blob {digest} was changed.")
        return data

    def check_blob(self, digest: Digest) -> str:
        if digest_file(self._path(digest)) != digest:
            raise Corrupt(f"The blob {digest} was changed.")
        return "verified"

    def _path(self, digest: Digest) -> Path:
        name = hex_of(digest)
        path = self.directory / "blobs" / "sha256" / name[:2] / name
        if not path.is_file():
            raise NotFound(f"The blob {digest} is missing.")
        return path


@dataclass
class Verdict:
    """What was checked, and what did not hold."""

    head: TreeHead
    note: bytes
    entries: int = 0
    verified_blobs: int = 0
    vouched_blobs: int = 0
    problems: list[str] = field(default_factory=list)


Advance = Callable[[str], None]
"""Called with a word on each thing that was checked."""


def verify_ledger(
    source: Source,
    ledger_key: LogPublicKey,
    hub_key: ArtifactPublicKey,
    known: TreeHead | None,
    advance: Advance = lambda what: None,
) -> Verdict:
    """Check all of it. A tree that does not hold raises `Corrupt` or `Denied`; further findings are collected."""
    audit: Audit = verify_log(source, ledger_key, known)
    verdict = Verdict(audit.head, audit.note)
    keys: dict[str, ArtifactPublicKey] = {HUB: hub_key}
    blobs: dict[Digest, str] = {}
    for index, data in enumerate(audit.entries):
        advance(f"entry {index}")
        try:
            claim = _check_entry(source, data, audit.head.origin, keys)
        except Problem as problem:
            verdict.problems.append(f"Entry {index}: {problem.what}")
            continue
        verdict.entries += 1
        if isinstance(claim, Member):
            keys[claim.member] = ArtifactPublicKey.from_pem(claim.artifact_key.encode())
        blobs.update({digest: f"entry {index} names it as {name}" for digest, name in _blobs_of(claim)})
    for digest, where in blobs.items():
        advance(digest)
        _check_blob(source, digest, where, verdict)
    return verdict


def _check_entry(source: Source, data: bytes, origin: str, keys: dict[str, ArtifactPublicKey]) -> Claim:
    """The leaf, its envelope and its signature say the same."""
    leaf = Leaf.decode(data)
    envelope = source.read_envelope(Digest(leaf.envelope))
    claimed = statements.read(envelope)
    stated = (payload_digest(envelope), claimed.kind, claimed.id, claimed.claim.signer)
    if stated != (leaf.payload, leaf.kind, leaf.id, leaf.signer) or claimed.claim.hub != origin:
        raise Corrupt(f"the ledger's leaf does not match its statement {leaf.envelope}.")
    if leaf.signer not in keys:
        raise Corrupt(f"{leaf.signer} signed before being a member.")
    verify_statement(envelope, keys[leaf.signer])
    return claimed.claim


def _check_blob(source: Source, digest: Digest, where: str, verdict: Verdict) -> None:
    try:
        how = source.check_blob(digest)
    except Problem as problem:
        verdict.problems.append(f"{problem.what.rstrip('.')} ({where}).")
        return
    if how == "verified":
        verdict.verified_blobs += 1
    else:
        verdict.vouched_blobs += 1


def _blobs_of(claim: Claim) -> Iterator[tuple[Digest, str]]:
    """Every blob that a statement names and the hub keeps. Shards of checkpoints stay on the nodes."""
    for file in getattr(claim, "files", ()):
        yield Digest(file.digest), file.path
    if isinstance(claim, Model) and claim.update:
        yield Digest(claim.update), "update"
    if isinstance(claim, Checkpoint):
        yield Digest(claim.weights.digest), "weights"
    if isinstance(claim, Evaluation) and claim.samples:
        yield Digest(claim.samples), "samples"
    if isinstance(claim, Release):
        yield Digest(claim.bundle), "bundle"
