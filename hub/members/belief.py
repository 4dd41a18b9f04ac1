"""Which recorded statements still count, now that some keys are known to have been stolen."""

from __future__ import annotations

from sqlmodel import Session

from hub.blobs import BlobStore
from hub.ledger import rows
from hub.members.directory import standing_of
from protos.documents.standing import Standing
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

        The same rule as `protos.documents.roll.Roll.quarantined`. An envelope that cannot be read is not believed.
        """
        standing = self.standing(member)
        keys = (*standing.keys, *(delegate.key for delegate in standing.delegates))
        suspects = [key for key in keys if key.compromised_since is not None and index >= key.compromised_since]
        if not suspects:
            return True
        try:
            (row,) = rows.between(self._session, index, index + 1)
            opened = open_envelope(self._blobs.read(Digest(row.envelope), MAX_ENVELOPE))
        except (Problem, ValueError):
            return False
        for key in suspects:
            try:
                opened.verify(key.public)
            except Denied:
                continue
            return False
        return True
