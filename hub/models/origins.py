"""Where a base comes from that nobody trained here."""

from __future__ import annotations

from hub.ledger.journal import Journal
from hub.models.tables import ModelRow
from protos.documents.models import Import, Model
from trust.digests import Digest


def import_of(journal: Journal, row: ModelRow) -> Import | None:
    """The statement that a model was taken in by; None for one that was made here."""
    if row.origin != "import":
        return None
    model = journal.find(Digest(row.payload))
    source = journal.find(Digest(model.claim.payload)) if model and isinstance(model.claim, Model) else None
    return source.claim if source and isinstance(source.claim, Import) else None
