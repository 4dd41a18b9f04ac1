"""How much of a ledger is final, computed from its entries and the cosigned head: what the hub says of it is not believed."""

from __future__ import annotations

from collections.abc import Sequence

from contributors.ledger import Recorded
from protos.documents.members import Member
from protos.documents.witnesses import (
    EnrolledWitness,
    Policy,
    Witness,
    WitnessPolicy,
    final_without_witnesses,
    quorum,
)
from trust import merkle
from trust.errors import Corrupt
from trust.keys import LogPublicKey
from trust.notes import verify_tree_head


def final_size(recorded: Sequence[Recorded], leaves: Sequence[bytes], witnessed: bytes, key: LogPublicKey) -> int:
    """Entries that are final. Raises `Corrupt` or `Denied` when the cosigned head is not of this history or has no quorum."""
    roles = {each.claim.member: each.claim.role for each in recorded if isinstance(each.claim, Member)}
    witnesses = [
        EnrolledWitness(each.index, each.claim.signer, roles.get(each.claim.signer, ""), each.claim.key)
        for each in recorded
        if isinstance(each.claim, Witness)
    ]
    policies = [Policy(each.index, each.claim.quorum) for each in recorded if isinstance(each.claim, WitnessPolicy)]
    free = final_without_witnesses(witnesses, policies, len(leaves))
    if not witnessed:
        return free
    head = verify_tree_head(witnessed, key, key.name)
    if head.size > len(leaves) or merkle.root(map(merkle.leaf_hash, leaves[: head.size])) != head.root:
        raise Corrupt("The witnesses cosigned another history than this one.")
    if not quorum(witnesses, policies, head.size).met_by(witnessed):
        raise Corrupt(f"The cosigned head of {head.size} entries does not carry its quorum.")
    return max(free, head.size)
