"""Which recorded statements still count, now that some keys are known to have been stolen."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.ledger import rows
from hub.members.directory import standing_of
from protos.documents.standing import Key, Standing
from trust.digests import Digest
from trust.dsse import MAX_ENVELOPE, open_envelope
from trust.errors import Denied, Problem


class Belief:
    """For one look at the database: each member's standing is read once."""

    def __init__(self, session: Session, blobs: BlobStore) -> None:
        self._session, self._blobs = session, blobs
        self._standings: dict[str, Standing] = {}

    def standing(self, member: str) -> Standing:
        if member not in self._standings:
            self._standings[member] = standing_of(self._session, member)
        return self._standings[member]

    def holds(self, member: str, index: int) -> bool:
        """Whether what the member said at entry `index` counts: not if a key signed it that was compromised by then.

        The same rule as `protos.documents.roll.Roll.quarantined`.
        """
        standing = self.standing(member)
        keys = (*standing.keys, *(delegate.key for delegate in standing.delegates))
        suspects = [key for key in keys if key.compromised_since is not None and index >= key.compromised_since]
        if not suspects:
            return True
        (row,) = rows.between(self._session, index, index + 1)
        if row.key:
            return row.key not in {key.keyid for key in suspects}
        return self._signed_by_none(Digest(row.envelope), suspects)

    def _signed_by_none(self, envelope: Digest, suspects: Sequence[Key]) -> bool:
        """Of an entry whose key was not kept when it was recorded. An envelope that cannot be read is not believed."""
        try:
            opened = open_envelope(self._blobs.read(envelope, MAX_ENVELOPE))
        except (Problem, ValueError):
            return False
        for key in suspects:
            try:
                opened.verify(key.public)
            except Denied:
                continue
            return False
        return True
