"""Receipts: that an entry is in the log, provable from the receipt and the log's key alone (c2sp.org/tlog-proof)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trust import merkle
from trust.encoding import from_base64, to_base64
from trust.errors import Invalid
from trust.keys import LogPublicKey
from trust.notes import TreeHead, verify_tree_head

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF = 64
MAX_RECEIPT = 1 << 18
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class Receipt:
    """Entry `index`, its audit path from the leaf upwards, and the signed tree head that it leads to."""

    index: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        lines = [HEADER, f"index {self.index}", *map(to_base64, self.proof), ""]
        return ("\n".join(lines) + "\n").encode() + self.note

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """Raises `Invalid`."""
        if len(data) > MAX_RECEIPT:
            raise Invalid(f"The receipt has {len(data)} bytes; {MAX_RECEIPT} are allowed.")
        head, blank, note = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise Invalid("The receipt is not one of c2sp.org/tlog-proof.") from None
        if not blank or len(lines) < 2 or lines[0] != HEADER:
            raise Invalid("The receipt is not one of c2sp.org/tlog-proof.")
        lines = lines[2:] if lines[1].startswith("extra ") else lines[1:]  # extra data proves nothing and is left out
        index = _INDEX.fullmatch(lines[0]) if lines else None
        hashes = tuple(from_base64(line, "A hash of the receipt") for line in lines[1:])
        if not index or len(hashes) > MAX_PROOF or any(len(value) != 32 for value in hashes):
            raise Invalid("The receipt's index or proof is malformed.")
        return cls(int(index[1]), hashes, note)


def verify_receipt(data: bytes, leaf: bytes, key: LogPublicKey, origin: str | None = None) -> TreeHead:
    """The tree head under which `leaf` (the entry's bytes) is proven. Raises `Invalid`, `Denied` or `Corrupt`."""
    receipt = Receipt.decode(data)
    head = verify_tree_head(receipt.note, key, key.name if origin is None else origin)
    merkle.verify_inclusion(receipt.index, head.size, merkle.leaf_hash(leaf), receipt.proof, head.root)
    return head
