"""What of a model trains in a campaign's rounds, and what an update of it is: an adapter, or how far weights moved.

Each kind says the same three things: a model prepared to train at a site (`prepare`), what every update of a round starts from
and how far it may move (`origin`), and what an update makes of the weights (`change`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from learning.adapters import Adapted, AdapterShape
from learning.weights import AllWeights, ExpertWeights, Moving

Trainable = AdapterShape | AllWeights | ExpertWeights
Prepared = Adapted | Moving


def trainable_of(values: Mapping[str, Any]) -> Trainable:
    """By a campaign's words (`CampaignSpec.trained`). Raises `Invalid`."""
    rest = {key: value for key, value in values.items() if key != "part"}
    match values["part"]:
        case "full":
            return AllWeights()
        case "experts":
            return ExpertWeights(**rest)
    return AdapterShape(**rest)
