"""The few ways in which every page shows things: tables, empty places, problems, live parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st

from trust.errors import Problem

LAZY_FROM = 1000
"""Rows from which a table is fetched as it is scrolled, in place of being sent whole."""


@contextmanager
def problems_shown() -> Iterator[None]:
    """A refusal or an outage becomes a sentence on the page."""
    try:
        yield
    except Problem as problem:
        st.error(problem.what)
        if problem.todo:
            st.info(problem.todo)


def table(
    rows: Sequence[Mapping[str, Any]], alt: str, columns: Mapping[str, Any] | None = None, height: int | None = None
) -> None:
    """Rows as a table. `columns` maps names to column configurations, `alt` names the table for screen readers."""
    frame = pd.DataFrame(list(rows))
    titles = {name: st.column_config.Column(name[:1].upper() + name[1:]) for name in frame.columns}
    st.dataframe(
        frame,
        hide_index=True,
        column_config={**titles, **(columns or {})},
        lazy=len(frame) > LAZY_FROM,
        height=height or "auto",
        placeholder="",
        alt=alt,
    )


def link(label: str, parameter: str, help_text: str | None = None) -> Any:
    """A column of addresses like `models?model=tiny-1`, shown as the value after `parameter=`."""
    return st.column_config.LinkColumn(label, display_text=rf"{parameter}=(.+)$", help=help_text, pinned=True)


def percent(label: str) -> Any:
    """A column of percentages, as a bar."""
    return st.column_config.ProgressColumn(label, min_value=0, max_value=100, format="%.0f %%", width=110)


def nothing_yet(what: str, todo: str, command: str = "") -> None:
    """An empty place: what will be here, and what makes it appear."""
    st.info(what)
    st.markdown(todo)
    if command:
        st.code(command, language="bash")


def facts(pairs: Mapping[str, str]) -> None:
    """Short facts in a row that wraps."""
    with st.container(horizontal=True, gap="medium"):
        for label, value in pairs.items():
            st.metric(label, value, width="content")


def command(text: str) -> None:
    """A command to copy."""
    st.code(text, language="bash")


def live(show: Callable[[], None], seconds: float | None) -> None:
    """Show a part of the page and, unless `seconds` is None, again and again without the rest of it."""

    def part() -> None:
        with problems_shown():
            show()

    st.fragment(part, run_every=seconds)()
