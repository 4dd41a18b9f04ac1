"""What became of our updates: news of the rounds of our campaigns, for whoever watches the site."""

from __future__ import annotations

from protos.coalition.v1 import rounds_pb2


class Hearing:
    """Of one member. Rounds that were done when a campaign is first seen are no news."""

    def __init__(self, member: str) -> None:
        self._member = member
        self._heard: dict[str, int] = {}

    def news(self, campaign: rounds_pb2.Campaign) -> list[str]:
        """One sentence for each new round that we were part of."""
        since = self._heard.get(campaign.id)
        self._heard[campaign.id] = max((each.number for each in campaign.rounds), default=0)
        if since is None:
            return []
        return [
            f"round {each.number} of {campaign.id}: {_said(part)}"
            for each in campaign.rounds
            for part in each.participants
            if each.number > since and part.member == self._member
        ]


def _said(part: rounds_pb2.Participation) -> str:
    if part.excluded:
        return f"our update was left out: {part.excluded}"
    return f"our update weighs {part.weight:.1%}: {part.why}"
