"""Leaderboard: models x tasks with errors, and how each family moved from its base through the rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboards import display, source
from dashboards.rows import ranking, scores
from dashboards.rows.scores import Progress
from protos.coalition.v1 import evaluation_pb2
from trust.sentences import counted

MAX_TILES = 8
MAX_RANKED = 20
ALL = "all"
GREY = "#808a9b"
"""Legible on the light and on the dark page."""


def show() -> None:
    """The default page."""
    st.title("Leaderboard")
    board = source.leaderboard()
    scored = [row for row in board.rows if row.scores]
    if not scored:
        _empty(board)
        return
    st.caption(_summary(board, len(scored)))
    families = scores.families(board)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        domain = _chosen_domain(scores.domains(board))
        family = families[_chosen_base(list(reversed(families)))]
    columns = scores.columns_of(board, domain)
    steps = scores.progress(columns, family)
    _ranking(source.ranking(domain or ""))
    _tiles(steps)
    _progress(steps)
    _intervals(steps, family)
    _matrix(columns, board.rows)


def _empty(board: evaluation_pb2.Leaderboard) -> None:
    if board.waiting:
        display.nothing_yet(
            f"{board.waiting} evaluations are waiting or under way.", "Scores appear here by themselves."
        )
        return
    display.nothing_yet(
        "No model has been evaluated yet.",
        "Every model is evaluated with every accepted suite, without being asked. "
        "So this page needs a suite from a member and a model from the core team:",
        "coalition suite submit SUITE-FOLDER\ncoalition run launch SPEC.toml",
    )


def _summary(board: evaluation_pb2.Leaderboard, models: int) -> str:
    suites = len({column.reference for column in board.columns})
    figures = (counted(models, "model"), counted(suites, "suite"), counted(len(board.columns), "task"))
    text = f"{', '.join(figures)}; from {counted(board.ledger_size, 'ledger entry', 'ledger entries')}."
    return f"{text} {counted(board.waiting, 'evaluation')} still to come." if board.waiting else text


def _chosen_domain(domains: Sequence[str]) -> str | None:
    options = [ALL, *domains]
    chosen = st.pills("Domain", options, default=ALL, key="domain", bind="query-params", required=True)
    return None if chosen in (None, ALL) else str(chosen)


def _chosen_base(bases: Sequence[str]) -> str:
    if len(bases) == 1:
        return bases[0]
    return display.choose("Base model and its rounds", bases, "base", width=260)


def _ranking(found: evaluation_pb2.Ranking) -> None:
    """Every ranked model; those that can't be told apart share ranks."""
    if not found.models and not found.left_out:
        return
    st.subheader("Ranking")
    if not found.models:
        st.caption(f"No model is ranked yet. {display.words(ranking.left_out(found))}")
        return
    shown = ranking.points(found)[:MAX_RANKED]
    title = "0: guessing, 1: the best possible"
    st.altair_chart(point_chart(shown, title), height=70 + 26 * len(shown))
    tasks = counted(len(found.tasks), "task")
    st.caption(
        f"The mean of all authors' suites, by {tasks} whose per-item logs everybody may read; 95 % intervals, drawn again over "
        "tasks and items. Models that can't be told apart share ranks: all answered the same items, so ranks are surer than "
        f"intervals. `coalition ledger audit` computes the same. {display.words(ranking.left_out(found))}"
    )
    if len(found.models) > MAX_RANKED:
        with st.expander(f"All {len(found.models)} ranked models"):
            display.table(ranking.ranked(found), "Ranked models", {"model": display.link("Model", "model")})


def _tiles(steps: Sequence[Progress]) -> None:
    """One tile per task of text, or per task where there is none: the newest score and its way there."""
    chosen = [step for step in steps if not step.rising] or list(steps)
    if not chosen:
        return
    with st.container(horizontal=True):
        for step in chosen[:MAX_TILES]:
            st.metric(
                f"{step.domain}: {scores.metric_name(step.metric)} {scores.arrow(step.rising)}",
                f"{step.last.value:.3f}",
                f"{step.change:+.3f}" if len(step.trend) > 1 else None,
                delta_color="normal" if step.rising else "inverse",
                delta_arrow="off",
                delta_description=f"since {step.base_model}" if len(step.trend) > 1 else None,
                chart_data=list(step.trend) if len(step.trend) > 1 else None,
                border=True,
                width=228,
                help=f"{step.key}, {step.last.items} items, standard error {step.last.standard_error:.3f}",
            )


def _progress(steps: Sequence[Progress]) -> None:
    st.subheader("From base to newest round")
    if not steps:
        st.info("No model of this family has a score in this domain yet.")
        return
    first, last = steps[0].base_model, steps[0].last_model
    st.caption(
        f"{first} → {last}. {scores.UP} higher is better, {scores.DOWN} lower is better; ± is one standard error. "
        "“Slightly” means a change smaller than twice the errors of its two ends; as both answered the same items, "
        "it may still be real."
    )
    column = st.column_config
    display.table(
        scores.progress_rows(steps),
        "Progress per task from the base model to the newest round",
        {
            "domain": column.TextColumn("Domain", width=90),
            "task": column.TextColumn("Task", width=185),
            "metric": column.TextColumn("Metric", width=120),
            "guessing": column.NumberColumn("Guessing", format="%.3f", width=80, help="What guessing would score."),
            "base": column.TextColumn("Base", width=115),
            "latest": column.TextColumn("Newest", width=115),
            "change": column.NumberColumn("Change", format="%+.3f", width=80),
            "verdict": column.TextColumn("That is", width=110),
            "progress": column.LineChartColumn("Course", width=80),
        },
    )


def _intervals(steps: Sequence[Progress], family: Sequence[evaluation_pb2.LeaderboardRow]) -> None:
    if not steps:
        return
    st.subheader("One task, every model of the family")
    by_key = {step.key: step for step in steps}
    step = by_key[display.choose("Task", list(by_key), "task", note="first", width=420)]
    points = scores.intervals(step.key, family)
    st.altair_chart(interval_chart(points, step), height=110 + 26 * min(len(points), 30))
    st.caption("Points with 95 % intervals." + (" Dashed: guessing." if step.chance is not None else ""))


def interval_chart(points: list[dict[str, Any]], step: Progress) -> Any:
    """A point and its interval per model; a dashed rule where guessing would be."""
    title = f"{scores.metric_name(step.metric)} ({'higher' if step.rising else 'lower'} is better)"
    return point_chart(points[-30:], title, step.chance)


def point_chart(points: Sequence[Mapping[str, Any]], title: str, chance: float | None = None) -> Any:
    """Models from top to bottom, each a `score` between `low` and `high`; a dashed rule at `chance`."""
    data = alt.Chart(pd.DataFrame(points))
    models = alt.Y("model:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))

    def score_axis(field: str) -> Any:
        return alt.X(field, title=title, scale=alt.Scale(zero=False, padding=20), axis=alt.Axis(tickCount=6))

    bars = data.mark_rule(strokeWidth=2, color=GREY).encode(y=models, x=score_axis("low:Q"), x2="high:Q")
    dots = data.mark_point(filled=True, size=90, opacity=1).encode(
        y=models, x=score_axis("score:Q"), tooltip=list(points[0])
    )
    layers = [bars, dots]
    if chance is not None:
        rule = alt.Chart(pd.DataFrame({"guessing": [chance]})).mark_rule(strokeDash=[5, 4], color=GREY)
        layers.insert(0, rule.encode(x=score_axis("guessing:Q")))
    return alt.layer(*layers)


def _matrix(columns: Sequence[evaluation_pb2.LeaderboardColumn], rows: Sequence[evaluation_pb2.LeaderboardRow]) -> None:
    st.subheader("Every model")
    st.caption(
        f"{scores.BEST} marks the best value of a column. {scores.OWN} marks a model that the suite's author trained to half or "
        "more: shown, not ranked. A model's name leads to its page."
    )
    families = [row for family in scores.families(evaluation_pb2.Leaderboard(rows=rows)).values() for row in family]
    titles = {column.key: _title(column) for column in columns}
    display.table(
        scores.matrix(columns, list(reversed(families))),
        "Scores of every model on every task",
        {
            "model": display.link("Model", "model"),
            "origin": st.column_config.TextColumn("Made by", width=90),
            **titles,
        },
    )


def _title(column: evaluation_pb2.LeaderboardColumn) -> Any:
    direction = "higher" if column.higher_is_better else "lower"
    help_text = f"{scores.metric_name(column.metric)}, {direction} is better. {column.reference}"
    label = f"{column.key} {scores.arrow(column.higher_is_better)}"
    return st.column_config.TextColumn(label, help=help_text, width=190)
