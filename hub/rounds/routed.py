"""Whether a base model has the experts that a campaign trains: as the model's own configuration says, before anybody joins."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hub.blobs import BlobStore
from protos.documents.base import FileEntry
from protos.documents.methods import Experts
from trust.digests import Digest
from trust.errors import Invalid

_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""What configurations of `transformers` call the number of a layer's experts."""


def check_experts(experts: Experts, base: str, files: Iterable[FileEntry], blobs: BlobStore) -> None:
    """Raises `Invalid` where the model `base` of these files is dense, and for experts that it does not have."""
    count = _experts(files, blobs)
    if not count:
        raise Invalid(
            f"{base} is a dense model: it has no experts.",
            'Train an adapter, or trainable = "full".',
            field="experts",
        )
    if (wrong := max(experts.of())) >= count:
        raise Invalid(f"{base} has experts 0 to {count - 1}, and no {wrong}.", "Name others.", field="experts")


def _experts(files: Iterable[FileEntry], blobs: BlobStore) -> int:
    """Of each layer that has some; 0 where none does."""
    (file,) = (file for file in files if file.path == "config.json")
    config: dict[str, Any] = json.loads(blobs.read(Digest(file.digest)))
    found = (config.get(name) for name in _COUNTS)
    return next((count for count in found if isinstance(count, int)), 0)
