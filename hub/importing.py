"""A model that others trained becomes a base of the coalition: on the hub's machine, while the hub stands still."""

from __future__ import annotations

from pathlib import Path

from hub.models.imports import Described, take_in
from hub.server import at_rest
from hub.settings import Settings
from protos.documents.models import Model


def import_model(settings: Settings, folder: Path, described: Described) -> Model:
    """Raises as `take_in`, and `Conflict` when the hub runs."""
    with at_rest(settings) as base:
        return take_in(
            folder,
            described,
            policy=settings.licences,
            database=base.database,
            blobs=base.blobs,
            journal=base.journal,
        )
