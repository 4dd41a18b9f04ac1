"""A model that others trained becomes a base of the coalition: on the hub's machine, while the hub stands still."""

from __future__ import annotations

from pathlib import Path

from hub.foundation import Foundation
from hub.holding import held
from hub.models.imports import Described, take_in
from hub.server import register_projections
from hub.settings import Settings
from protos.documents.models import Model


def import_model(settings: Settings, folder: Path, described: Described) -> Model:
    """Raises as `take_in`, and `Conflict` when the hub runs."""
    with held(settings.directory):
        base = Foundation.open(settings)
        try:
            register_projections(base.journal)
            base.journal.start()
            return take_in(
                folder,
                described,
                policy=settings.licences,
                database=base.database,
                blobs=base.blobs,
                journal=base.journal,
            )
        finally:
            base.journal.stop()
            base.database.close()
            base.blobs.close()
