"""Statements of a ledger fit together or not, whatever hub wrote it."""

from __future__ import annotations

from contributors.ledger import Recorded
from contributors.lineage import check_lineage
from protos.documents.leaf import Leaf
from protos.documents.statements import read, sign
from tests.hub.ledger.test_journal import colliding
from trust.digests import digest_bytes
from trust.keys import ArtifactKey


def test_two_entries_that_are_called_the_same_are_named() -> None:
    """A hub that lets both in could let one be taken for the other: forty-eight bits are found anew within a minute."""
    key, recorded = ArtifactKey.generate(), []
    for index, number in enumerate((24_209_973, 33_494_506)):
        envelope = sign(colliding(number), key)
        claimed = read(envelope)
        leaf = Leaf(
            envelope=digest_bytes(envelope),
            id=claimed.id,
            kind=claimed.kind,
            payload=claimed.payload,
            signer="law-institute",
            time="2026-01-01T00:00:00.000Z",
        )
        recorded.append(Recorded(index, leaf, claimed.claim))
    assert recorded[0].leaf.id == recorded[1].leaf.id
    assert check_lineage(recorded) == [(1, "another entry is called data-db0421967b34, as entry 0 is.")]
