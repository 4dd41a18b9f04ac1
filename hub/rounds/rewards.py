"""What sites tell of rounds that learn from rewards, as the hub takes it and says it again. Nothing is rewarded here."""

from __future__ import annotations

from collections.abc import Sequence

from protos.documents.campaigns import CampaignSpec
from protos.documents.models import Contribution
from protos.documents.rounds import RoundReply
from trust.errors import Invalid

Metrics = tuple[tuple[int, str, float], ...]


def check_told(reply: RoundReply, spec: CampaignSpec) -> None:
    """That a reply tells of rewards where its campaign learns from them and withholds nothing. Raises `Invalid`."""
    if (reply.rewarded is None) != (spec.rewards is None or spec.withholds):
        raise Invalid("It tells of rewards where none teach, or of none where they do.", field="rewarded")


def course(part: Contribution) -> str:
    """What a member's round came to, for those who watch."""
    if part.withheld:
        return "its losses are withheld"
    said = f"loss {part.loss_first:.3f} to {part.loss_last:.3f}"
    if (given := part.rewarded) is None:
        return said
    return (
        f"reward {given.first:.3f} to {given.last:.3f}, {given.divergence:.3g} nats per token from where it began, "
        f"{given.length:.1f} tokens long, {said}"
    )


def metrics(number: int, parts: Sequence[Contribution]) -> Metrics:
    """Of a round's updates that counted: (round, name, value)."""
    told = [(number, f"loss/{part.member}", part.loss_last) for part in parts if not part.withheld]
    for part in parts:
        if (given := part.rewarded) is not None:
            values = {"reward": given.last, "kl": given.divergence, "length": given.length}
            told += [(number, f"{name}/{part.member}", value) for name, value in values.items()]
    return tuple(told) or ((number, "updates", float(len(parts))),)
