"""What the hub tells of an update, and how far one may move, where the campaign guarantees privacy."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from learning.privacy.noise import most_noise
from protos.documents.campaigns import CampaignSpec
from protos.documents.models import Contribution
from protos.documents.rounds import RoundReply

_RATIO = 10.0  # of an update's norm to that of what it started from, where nothing is guaranteed


def most_change(
    spec: CampaignSpec, reference: Mapping[str, Tensor], furthest: float | None = None
) -> tuple[float, float | None]:
    """The ratio and the norm that `check_update` holds an update to: it moves no further than `furthest` (L2), or, where that is
    not told, than so many lengths of what it started from.

    Noise of the site moves it far and by a known norm; with noise of the hub it is clipped here, and a refusal that named its
    norm would tell it.
    """
    privacy = spec.privacy
    if privacy is None:
        return (_RATIO, None) if furthest is None else (math.inf, furthest)
    if privacy.guarantee == "central":
        return math.inf, None
    size = sum(tensor.numel() for tensor in reference.values())
    return math.inf, privacy.clip + most_noise(size, privacy.clip * privacy.noise)


def contribution(
    spec: CampaignSpec, member: str, answer: RoundReply, norm: float, quality: float | None = None
) -> Contribution:
    """A member's part before its share is known. Losses and norm are no part of a guarantee, so they are kept from the ledger and
    from who watches; and so is the digest of an update that came without noise."""
    part = Contribution(
        member=member,
        examples=answer.examples,
        weight=0,
        loss_first=answer.loss_first,
        loss_last=answer.loss_last,
        update_norm=norm,
        update=answer.update,
        quality=quality or 0,
        rewarded=answer.rewarded,
    )
    if not spec.withholds:
        return part
    withheld = {"loss_first": 0.0, "loss_last": 0.0, "update_norm": 0.0, "rewarded": None, "withheld": True}
    bare = {"update": None} if spec.privacy and spec.privacy.guarantee == "central" else {}
    return part.model_copy(update={**withheld, **bare})
