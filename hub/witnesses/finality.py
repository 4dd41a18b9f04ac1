"""How much of the ledger is final: covered by a tree head that a quorum of witnesses cosigned."""

from __future__ import annotations

from sqlmodel import Session

from hub.ledger import rows
from hub.ledger.log import Log
from hub.witnesses import roll
from protos.documents.witnesses import final_without_witnesses
from trust.notes import claimed_head


class Finality:
    """Read where it is asked for: the witnessed head is a file of the ledger, replaced whole."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def size(self, session: Session) -> int:
        """Entries that are final, of those that this session sees."""
        recorded = min(rows.count(session), self._log.size)
        without = final_without_witnesses(roll.enrolled(session), roll.policies(session), recorded)
        return min(recorded, max(without, self.witnessed_size()))

    def witnessed_size(self) -> int:
        """Entries under the newest head that reached its quorum."""
        note = self._log.witnessed()
        return claimed_head(note).size if note else 0
