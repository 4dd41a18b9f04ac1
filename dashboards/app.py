"""The entry that Streamlit runs (`coalition dashboard`): the frame around every page."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboards import source
from dashboards.display import problems_shown, words
from dashboards.screens import campaigns, leaderboard, ledger, members, models, runs

_MARK = str(Path(__file__).parent / "mark.svg")


def main() -> None:
    """One run of the page; Streamlit repeats it at every interaction."""
    st.set_page_config(page_title="Coalition", page_icon=_MARK, layout="wide")
    page = st.navigation(
        [
            st.Page(leaderboard.show, title="Leaderboard", url_path="leaderboard", default=True),
            st.Page(models.show, title="Models", url_path="models"),
            st.Page(members.show, title="Members", url_path="members"),
            st.Page(runs.show, title="Runs", url_path="runs"),
            st.Page(campaigns.show, title="Campaigns", url_path="campaigns"),
            st.Page(ledger.show, title="Ledger", url_path="ledger"),
        ]
    )
    with problems_shown(retry=True):
        who = source.identity()
        st.sidebar.markdown(
            f"**{words(who.hub)}**  \nseen as {words(who.organisation)} ({who.role})  \n{words(who.address)}"
        )
        st.sidebar.caption("All times are UTC.")
        page.run()


main()
