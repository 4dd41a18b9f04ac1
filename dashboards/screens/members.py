"""Members: who takes part, and what each contributed."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboards import display, source
from dashboards.rows import members as rows

EVERYONE = "everyone"


def show() -> None:
    """Members, their data by domain, and their submissions (`?member=` in the address)."""
    st.title("Members")
    members, submissions = source.members(), source.submissions()
    if not members:
        display.nothing_yet(
            "Nobody has enrolled yet.",
            "The operator invites organisations; each enrols with its token.",
            "coalition-hub invite DIR --organisation NAME --role contributor",
        )
        return
    display.table(rows.member_rows(members), "Members and their contributions")
    _data(rows.data_by_domain(submissions))
    st.subheader("Datasets and suites")
    if not submissions:
        display.nothing_yet(
            "Nothing has been submitted yet.",
            "A member submits a folder of JSON Lines, or a suite:",
            "coalition data submit PATH --name NAME --domain DOMAIN --licence SPDX\ncoalition suite submit PATH",
        )
        return
    options = [EVERYONE, *sorted(member.id for member in members)]
    chosen = st.selectbox("Submitted by", options, key="member", bind="query-params", width=320)
    found = rows.submission_rows(submissions, None if chosen == EVERYONE else str(chosen))
    if found:
        display.table(found, "Submissions")
    else:
        st.info(f"{chosen} has submitted nothing yet.")


def _data(data: list[dict[str, object]]) -> None:
    if not data:
        return
    st.subheader("Accepted data")
    chart = (
        alt.Chart(pd.DataFrame(data))
        .mark_bar()
        .encode(
            y=alt.Y("domain:N", title=None, sort="-x"),
            x=alt.X("sum(megabytes):Q", title="megabytes", axis=alt.Axis(tickCount=8)),
            color=alt.Color("member:N", title="Member"),
            tooltip=["domain", "member", alt.Tooltip("sum(megabytes):Q", format=".2f")],
        )
    )
    st.altair_chart(chart, height=90 + 34 * len({str(row["domain"]) for row in data}))
