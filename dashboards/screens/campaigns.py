"""Campaigns: federated rounds, and each member's part in them."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboards import display, source
from dashboards.rows import campaigns as rows
from dashboards.rows import formats
from protos.coalition.v1 import rounds_pb2
from protos.documents.campaigns import part_of

REFRESH_SECONDS = 3.0


def show() -> None:
    """The chosen campaign (`?campaign=` in the address), then the list."""
    st.title("Campaigns")
    campaigns = source.campaigns()
    if not campaigns:
        display.nothing_yet(
            "No campaign has been opened yet.",
            "A core member opens one on a base model; members join and start their sites:",
            "coalition campaign open SPEC.toml\ncoalition campaign join ID\ncoalition site start",
        )
        return
    identifiers = [item.id for item in rows.newest_first(campaigns)]
    chosen = display.choose("Campaign", identifiers, "campaign")
    ended = source.campaign(chosen).state in rows.ENDED
    display.live(lambda: _course(chosen, ended), None if ended else REFRESH_SECONDS)
    st.subheader("All campaigns")
    display.table(
        rows.campaign_rows(campaigns),
        "All campaigns",
        {"campaign": display.link("Campaign", "campaign"), "done": display.percent("Done")},
    )


def _course(identifier: str, had_ended: bool) -> None:
    campaign = source.campaign(identifier)
    if campaign.state in rows.ENDED and not had_ended:
        st.rerun()
    display.facts(
        {
            "Name": campaign.name,
            "State": campaign.state,
            "Rounds": f"{len(campaign.rounds)} of {campaign.rounds_planned}",
            "Base model": campaign.base_model,
            "Newest model": campaign.rounds[-1].model if campaign.rounds else "none yet",
            "Opened": formats.moment(campaign.opened_at),
        }
    )
    (st.error if campaign.state == "failed" else st.info)(display.words(rows.standing(campaign)))
    if campaign.rounds_planned and campaign.state not in rows.ENDED:
        st.progress(min(1.0, len(campaign.rounds) / campaign.rounds_planned))
    st.markdown("**Members:** " + (", ".join(sorted(campaign.members)) or "none has joined yet"))
    if part := part_of(campaign.spec):
        st.markdown("**Trains:** " + display.words(part))
    if campaign.guarantee:
        st.markdown("**Privacy:** " + display.words(campaign.guarantee))
    if not campaign.rounds:
        display.command(f"coalition campaign join {campaign.id}\ncoalition site start")
        return
    if rewards := rows.rewards(campaign):
        st.subheader("Mean reward, at the beginning and the end of each round")
        st.altair_chart(chart(rewards, "reward", "reward"), height=300)
    if losses := rows.losses(campaign):
        st.subheader("Local loss, before and after each round")
        st.altair_chart(chart(losses, "loss", "nats per token"), height=300)
    if campaign.spent:
        st.subheader("Privacy spent")
        display.table(rows.spent_rows(campaign), "Privacy spent by member")
    _participants(campaign)


def chart(points: list[dict[str, Any]], what: str, unit: str) -> Any:
    """Per member, a value on its private data before and after training, round by round."""
    return (
        alt.Chart(pd.DataFrame(points))
        .mark_line(point=True)
        .encode(
            x=alt.X("round:Q", title="round", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
            y=alt.Y(f"{what}:Q", title=unit, scale=alt.Scale(zero=False)),
            color=alt.Color("member:N", title="Member"),
            tooltip=["member", "round", alt.Tooltip(f"{what}:Q", format=".3f")],
        )
    )


def _participants(campaign: rounds_pb2.Campaign) -> None:
    st.subheader("Participants")
    number = st.column_config.NumberColumn
    display.table(
        rows.participation_rows(campaign),
        "Participants by round",
        {
            "weight": number("Weight", format="%.3f", help="The member's part in the average of the round."),
            "loss before": number("Loss before", format="%.3f"),
            "loss after": number("Loss after", format="%.3f"),
            "update norm": number("Update norm", format="%.3f"),
            "quality": number(
                "Quality", format="%.3f", help="Held-out text's perplexity without the update over that with it."
            ),
        },
    )
    if rewarded := rows.rewarded_rows(campaign):
        st.subheader("Rewards")
        display.table(
            rewarded,
            "Rewards by round",
            {
                "reward before": number("Reward before", format="%.3f", help="Mean over the first tenth of the round."),
                "reward after": number("Reward after", format="%.3f", help="Mean over the last tenth of the round."),
                "divergence": number("Divergence", format="%.3f", help="Nats per token from where the round began."),
                "length": number("Length", format="%.1f", help="Tokens an answer."),
            },
        )
    with st.expander("Specification, as signed"):
        st.caption(f"Opened by {campaign.opened_by} at {formats.moment(campaign.opened_at)}.")
        st.json(campaign.spec or "{}")
