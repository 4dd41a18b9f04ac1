"""Campaigns: their list, their rounds, and each member's part in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.rows.formats import moment
from protos.coalition.v1 import rounds_pb2

ENDED = frozenset({"finished", "failed", "stopped"})


def newest_first(campaigns: Sequence[rounds_pb2.Campaign]) -> list[rounds_pb2.Campaign]:
    return sorted(campaigns, key=lambda campaign: campaign.opened_at, reverse=True)


def campaign_rows(campaigns: Sequence[rounds_pb2.Campaign]) -> list[dict[str, Any]]:
    """The list of campaigns, newest first; `done` in percent."""
    return [
        {
            "campaign": f"campaigns?campaign={campaign.id}",
            "name": campaign.name,
            "state": campaign.state,
            "done": 100 * len(campaign.rounds) / max(1, campaign.rounds_planned),
            "rounds": f"{len(campaign.rounds)} of {campaign.rounds_planned}",
            "base model": campaign.base_model,
            "members": len(campaign.members),
            "opened": moment(campaign.opened_at),
            "reason": campaign.reason,
        }
        for campaign in newest_first(campaigns)
    ]


def participation_rows(campaign: rounds_pb2.Campaign) -> list[dict[str, Any]]:
    """One row per round and member, newest round first."""
    return [
        {
            "round": number.number,
            "member": part.member,
            "examples": part.examples,
            "weight": part.weight,
            "loss before": None if part.withheld else part.loss_first,
            "loss after": None if part.withheld else part.loss_last,
            "update norm": None if part.withheld else part.update_norm,
            "quality": part.quality or None,
            "left out because": part.excluded,
        }
        for number in sorted(campaign.rounds, key=lambda number: -number.number)
        for part in sorted(number.participants, key=lambda part: part.member)
    ]


def rewarded_rows(campaign: rounds_pb2.Campaign) -> list[dict[str, Any]]:
    """One row per round and member of a campaign that learns from rewards, newest round first; none for others."""
    return [
        {
            "round": number.number,
            "member": part.member,
            "reward before": part.rewarded.first,
            "reward after": part.rewarded.last,
            "divergence": part.rewarded.divergence,
            "length": part.rewarded.length,
        }
        for number in sorted(campaign.rounds, key=lambda number: -number.number)
        for part in sorted(number.participants, key=lambda part: part.member)
        if part.HasField("rewarded")
    ]


def rewards(campaign: rounds_pb2.Campaign) -> list[dict[str, Any]]:
    """Per member and round, the mean reward at the beginning of the round and its end, half a round apart."""
    return [
        {"round": row["round"] + shift, "member": row["member"], "reward": row[which]}
        for row in rewarded_rows(campaign)
        for shift, which in ((-0.5, "reward before"), (0.0, "reward after"))
    ]


def losses(campaign: rounds_pb2.Campaign) -> list[dict[str, Any]]:
    """Per member and round, the local loss before and after training: half a round apart, so that a line shows both."""
    return [
        {"round": number.number + shift, "member": part.member, "loss": loss}
        for number in campaign.rounds
        for part in number.participants
        if not part.withheld
        for shift, loss in ((-0.5, part.loss_first), (0.0, part.loss_last))
    ]


def spent_rows(campaign: rounds_pb2.Campaign) -> list[dict[str, Any]]:
    """What the rounds so far cost each member, by name; none where the campaign guarantees nothing."""
    return [
        {
            "member": spent.member,
            "rounds": spent.rounds,
            "epsilon": spent.epsilon,
            "in all campaigns": spent.epsilon_everywhere,
            "delta": spent.delta,
            "rounds without privacy": spent.rounds_without,
        }
        for spent in sorted(campaign.spent, key=lambda spent: spent.member)
    ]


def standing(campaign: rounds_pb2.Campaign) -> str:
    """What the campaign waits for or came to, in one sentence."""
    joined, needed = len(campaign.members), campaign.minimum_members
    if campaign.state == "waiting" and joined >= needed:
        return f"Waits: {campaign.reason}."
    if campaign.state == "waiting":
        return f"Waits for members: {joined} of at least {needed} joined."
    if campaign.state == "paused":
        return f"Paused after {len(campaign.rounds)} of {campaign.rounds_planned} rounds: {campaign.reason}"
    if campaign.state == "running":
        return f"Round {len(campaign.rounds) + 1} of {campaign.rounds_planned} is under way."
    if campaign.state == "finished":
        return f"All {campaign.rounds_planned} rounds are done."
    return campaign.reason or f"Ended as {campaign.state}."
