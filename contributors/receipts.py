"""Receipts: that a statement of ours is in the ledger, checked before it is believed and kept to be checked offline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contributors.home import Home
from protos.coalition.v1 import common_pb2
from protos.documents.leaf import Leaf
from trust.cosignatures import cosignatures
from trust.errors import Corrupt, NotFound
from trust.notes import TreeHead
from trust.receipts import Receipt, verify_receipt
from trust.statements import payload_digest


def check_receipt(home: Home, receipt: common_pb2.Receipt, envelope: bytes | None = None) -> TreeHead:
    """The tree head that proves it. With `envelope`, that the entry is of this very statement.

    Raises `Corrupt` or `Denied` when the hub's answer does not hold: what it said it recorded, it did not.
    """
    head = verify_receipt(receipt.proof, receipt.leaf, home.ledger_key())
    leaf = Leaf.decode(receipt.leaf)
    if envelope is not None and leaf.payload != payload_digest(envelope):
        raise Corrupt(f"The hub answered with a receipt of {leaf.id}, not of what we sent.", "Tell the core team.")
    known = home.known_head()
    if known is not None and head.size == known.size and head.root != known.root:
        raise Corrupt("The hub shows us another ledger than before.", "Run `coalition ledger verify`.")
    return head


def keep_receipt(home: Home, name: str, receipt: common_pb2.Receipt, envelope: bytes | None = None) -> Path:
    """Check a receipt and keep it in the home. Raises as `check_receipt`."""
    check_receipt(home, receipt, envelope)
    return home.save_receipt(name, receipt.leaf, receipt.proof)


@dataclass(frozen=True)
class Kept:
    """A receipt in our home that holds: entry `index` is `leaf`, under `head`, which these members' witnesses cosigned."""

    index: int
    leaf: Leaf
    head: TreeHead
    path: Path
    cosigned_by: tuple[str, ...]


def kept_receipt(home: Home, name: str) -> Kept:
    """Verify a receipt that we keep, with no hub running. Raises `NotFound`, `Corrupt`, `Denied`."""
    path = home.receipt_path(name)
    try:
        leaf, proof = path.with_name(f"{name}.leaf").read_bytes(), path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"There is no receipt {path}.", f"Fetch it: coalition ledger receipt {name}") from None
    head = verify_receipt(proof, leaf, home.ledger_key())
    receipt, us = Receipt.decode(proof), home.identity()
    names = sorted(
        found.witness.name.removeprefix(f"{us.hub}/") for found in cosignatures(receipt.note, home.witnesses())
    )
    return Kept(receipt.index, Leaf.decode(leaf), head, path, tuple(names))
