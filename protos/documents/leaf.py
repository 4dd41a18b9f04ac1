"""What the ledger's tree holds: a small leaf per statement. The statement itself is a blob."""

from __future__ import annotations

from typing import Self

from protos.documents.base import DigestText, Document, Identifier
from trust.canonical import emit, parse
from trust.errors import Corrupt, Invalid

MAX_LEAF = 4096


class Leaf(Document):
    """`envelope` and `payload` pin the statement; the rest is what an index needs. `time` is when the hub recorded it."""

    envelope: DigestText
    id: Identifier
    kind: str
    payload: DigestText
    signer: Identifier
    time: str

    def encode(self) -> bytes:
        """The bytes that are hashed into the tree: RFC 8785 JSON."""
        return emit(self.model_dump(mode="json"))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises `Corrupt` for anything but a leaf in canonical form."""
        try:
            leaf = cls.read(parse(data, max_bytes=MAX_LEAF))
        except Invalid as problem:
            raise Corrupt(f"A ledger entry is not a leaf: {problem.what}") from None
        if leaf.encode() != data:
            raise Corrupt("A ledger entry is not in canonical form.")
        return leaf
