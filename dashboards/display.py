"""The few ways in which every page shows things: tables, empty places, problems, live parts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import streamlit as st

from trust.errors import Problem, Unavailable

RETRY_SECONDS = 3.0
TALL_PIXELS, TALL_ROWS = 560, 15
LAZY_FROM = 1000
"""Rows from which a table is fetched as it is scrolled, in place of being sent whole."""
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![0-9.])")


def words(text: str) -> str:
    """Text by others as Markdown that shows it letter by letter: no link, picture, colour or formula comes of it.

    A backslash before any ASCII punctuation takes away its meaning (CommonMark 0.31, section 2.4).
    """
    return _PUNCTUATION.sub(r"\\\1", text).replace("\n", " ")


def cell(value: Any) -> Any:
    """A table's value as a spreadsheet may have it: text that it would run as a formula gets a quote in front.

    Tables can be saved as CSV; see OWASP, "CSV Injection".
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


@contextmanager
def problems_shown(*, retry: bool = False) -> Iterator[None]:
    """A refusal or an outage becomes a sentence on the page; with `retry` the page comes back when the hub does."""
    try:
        yield
    except Problem as problem:
        st.error(words(problem.what))
        if problem.todo:
            st.info(words(problem.todo))
        if retry and isinstance(problem, Unavailable):
            st.caption("This page tries again by itself.")
            _rerun_later()


def _rerun_later() -> None:
    shown = time.monotonic()

    def again() -> None:
        if time.monotonic() - shown > RETRY_SECONDS / 2:  # not while the page is drawn for the first time
            st.rerun()

    st.fragment(again, run_every=RETRY_SECONDS)()


def table(
    rows: Sequence[Mapping[str, Any]], alt: str, columns: Mapping[str, Any] | None = None, *, tall: bool = False
) -> None:
    """Rows as a table. `columns` maps names to column configurations, `alt` names the table for screen readers.

    A `tall` table shows more rows before it scrolls.
    """
    frame = pd.DataFrame([{name: cell(value) for name, value in row.items()} for row in rows])
    titles = {name: st.column_config.Column(name[:1].upper() + name[1:]) for name in frame.columns}
    st.dataframe(
        frame,
        hide_index=True,
        column_config={**titles, **(columns or {})},
        lazy=len(frame) > LAZY_FROM,
        height=TALL_PIXELS if tall and len(frame) > TALL_ROWS else "auto",
        placeholder="",
        alt=alt,
    )


def choose(label: str, options: Sequence[str], key: str, note: str = "newest", width: int = 320) -> str:
    """One of the options, kept in the address under `key`; the first one while nobody has chosen.

    The first is a placeholder and no default: a default would be left out of the address, and the link that somebody
    shares today would show another thing tomorrow.
    """
    chosen = st.selectbox(
        label, options, index=None, placeholder=f"{options[0]} ({note})", key=key, bind="query-params", width=width
    )
    return str(chosen or options[0])


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
            st.metric(label, words(value), width="content")


def command(text: str) -> None:
    """A command to copy."""
    st.code(text, language="bash")


def live(show: Callable[[], None], seconds: float | None) -> None:
    """Show a part of the page and, unless `seconds` is None, again and again without the rest of it."""

    def part() -> None:
        with problems_shown():
            show()

    st.fragment(part, run_every=seconds)()
