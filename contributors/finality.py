"""How much of a ledger is final, computed from its entries and the cosigned head: what the hub says of it is not believed."""

from __future__ import annotations

from collections.abc import Sequence

from protos.documents.witnesses import Watch, final_without_witnesses, quorum
from trust import merkle
from trust.errors import Corrupt
from trust.keys import LogPublicKey
from trust.notes import verify_tree_head


def final_size(watch: Watch, leaves: Sequence[bytes], witnessed: bytes, key: LogPublicKey) -> int:
    """Entries that are final, of a ledger of these leaves. Raises `Corrupt` or `Denied` when the cosigned head is not of this
    history or has no quorum."""
    free = final_without_witnesses(watch.witnesses, watch.policies, len(leaves))
    if not witnessed:
        return free
    head = verify_tree_head(witnessed, key, key.name)
    if head.size > len(leaves) or merkle.root(map(merkle.leaf_hash, leaves[: head.size])) != head.root:
        raise Corrupt("The witnesses cosigned another history than this one.")
    if not quorum(watch.witnesses, watch.policies, head.size).met_by(witnessed):
        raise Corrupt(f"The cosigned head of {head.size} entries does not carry its quorum.")
    return max(free, head.size)
