"""What of a model trains in a campaign's rounds, and what an update of it is.

Each kind says the same four things: a model `prepare`d to train at a site, the `origin` that every update of a round starts from,
with how far one may move, and the `change` that an averaged update makes to the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from learning.adapters import Adapted, AdapterShape

Trainable = AdapterShape
Prepared = Adapted


def trainable_of(values: Mapping[str, Any]) -> Trainable:
    """By a campaign's words (`CampaignSpec.trained`). Raises `Invalid`."""
    return AdapterShape(**{key: value for key, value in values.items() if key != "part"})
