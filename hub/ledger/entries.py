"""An entry of the ledger: made of what is to be recorded, of a row of the database, of a leaf of the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from hub.blobs import BlobStore
from hub.ledger.tables import LedgerEntry
from protos.documents import statements
from protos.documents.base import Claim, now
from protos.documents.leaf import Leaf
from protos.documents.statements import Claimed
from trust.digests import Digest, digest_bytes
from trust.dsse import MAX_ENVELOPE
from trust.errors import Corrupt
from trust.statements import payload_digest


@dataclass(frozen=True)
class Entry:
    """A fact: what entry `index` of the ledger records. `signer` is a member's identifier, or `hub`.

    `key` is the keyid of the member's key that signed; empty for the hub.
    """

    index: int
    kind: str
    signer: str
    id: str
    time: str
    envelope: Digest
    payload: Digest
    claim: Claim
    key: str = field(default="", compare=False)


def new(index: int, claimed: Claimed, envelope: bytes) -> Entry:
    """Of a statement that is recorded now."""
    return Entry(
        index,
        claimed.kind,
        claimed.claim.signer,
        claimed.id,
        now(),
        digest_bytes(envelope),
        claimed.payload,
        claimed.claim,
        next(iter(claimed.proved), ""),
    )


def of_row(blobs: BlobStore, row: LedgerEntry) -> Entry:
    """Raises `NotFound` or `Corrupt` where the envelope is not here as it was."""
    claim = statements.read(blobs.read(Digest(row.envelope), MAX_ENVELOPE)).claim
    envelope, payload = Digest(row.envelope), Digest(row.payload)
    return Entry(row.index, row.kind, row.signer, row.id, row.time, envelope, payload, claim, row.key)


def envelope_of(blobs: BlobStore, index: int, leaf: Leaf) -> bytes:
    """What a leaf of the log stands for. Raises `NotFound`, and `Corrupt` for another payload than the leaf names."""
    envelope = blobs.read(Digest(leaf.envelope), MAX_ENVELOPE)
    if payload_digest(envelope) != leaf.payload:
        raise Corrupt(f"Entry {index} of the ledger does not match its envelope {leaf.envelope}.")
    return envelope


def of_leaf(index: int, leaf: Leaf, claimed: Claimed, key: str) -> Entry:
    """Of a leaf and its envelope, which `key` signed."""
    payload = Digest(leaf.payload)
    return Entry(index, leaf.kind, leaf.signer, leaf.id, leaf.time, Digest(leaf.envelope), payload, claimed.claim, key)
