"""Ledger: the signed tree head, the entries, and how to check both without trusting this page."""

from __future__ import annotations

import streamlit as st

from dashboards import display, source
from dashboards.rows import ledger as rows
from protos.coalition.v1 import ledger_pb2


def show() -> None:
    """The head, then the entries, newest first (`?page=` in the address)."""
    st.title("Ledger")
    head = source.head()
    display.facts({"Entries": f"{head.size:,}", "Log": head.origin})
    st.markdown(f"Root `{head.root.hex()}`")
    with st.expander("Signed tree head"):
        st.code(head.note.decode(errors="replace"), language=None)
    st.subheader("Check it yourself")
    st.markdown(
        "This page shows what the hub says. Your own client recomputes the tree from the entries, checks the "
        "signature, and compares it with the last head it saw; a receipt proves one entry and verifies offline."
    )
    display.command("coalition ledger verify\ncoalition ledger receipt ENTRY")
    _entries(head)


def _entries(head: ledger_pb2.TreeHead) -> None:
    st.subheader("Entries")
    if not head.size:
        display.nothing_yet("The ledger is empty.", "The first entry is written when the first member enrols.")
        return
    count = rows.pages(head.size)
    page = 1
    if count > 1:
        page = st.number_input(
            f"Page, 1 to {count}; the newest entries are on the first",
            1,
            count,
            key="page",
            bind="query-params",
            width=320,
        )
    start, length = rows.bounds(head.size, int(page))
    column = st.column_config
    display.table(
        rows.entry_rows(source.entries(start, length)),
        "Ledger entries",
        {
            "entry": column.NumberColumn("Entry", format="%d", width=70),
            "kind": column.TextColumn("Kind", width=110),
            "records": column.TextColumn("Records", width="medium"),
            "time": column.TextColumn("Time", width=150),
        },
        tall=True,
    )
