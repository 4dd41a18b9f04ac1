"""Runs: base training as it happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from contributors.cli.live import duration
from dashboards import display, source
from dashboards.rows import formats
from dashboards.rows import runs as rows
from protos.coalition.v1 import training_pb2

REFRESH_SECONDS = 2.0
GREY = "#808a9b"
"""Legible on the light and on the dark page."""


def show() -> None:
    """The list, then the chosen run (`?run=` in the address), then the nodes."""
    st.title("Runs")
    runs = source.runs()
    if not runs:
        display.nothing_yet(
            "No base run has been launched yet.",
            "A core member launches one on the attached nodes:",
            "coalition run launch SPEC.toml",
        )
        _nodes(source.nodes())
        return
    identifiers = [run.id for run in rows.newest_first(runs)]
    chosen = display.choose("Run", identifiers, "run")
    ended = source.run(chosen).state in rows.ENDED
    display.live(lambda: _course(chosen, ended), None if ended else REFRESH_SECONDS)
    st.subheader("All runs")
    display.table(
        rows.run_rows(runs), "All base runs", {"run": display.link("Run", "run"), "done": display.percent("Done")}
    )
    _nodes(source.nodes())


def _course(identifier: str, had_ended: bool) -> None:
    """The part that follows a run while it trains; when it ends, the whole page is shown anew."""
    run = source.run(identifier)
    if run.state in rows.ENDED and not had_ended:
        st.rerun()
    display.facts(_facts(run, rows.latest(run.metrics)))
    if run.reason:
        (st.error if run.state == "failed" else st.info)(display.words(run.reason))
    if run.steps and run.state not in rows.ENDED:
        st.progress(min(1.0, run.step / run.steps))
    _curves(run)
    _told(run)
    _details(run)


def _facts(run: training_pb2.Run, values: Mapping[str, float]) -> dict[str, str]:
    """Where it stands, and while it is being worked on how fast and by whom."""
    shown = {
        "Name": run.name,
        "State": run.state,
        "Step": f"{run.step:,} of {run.steps:,}",
        "Loss": f"{values[rows.LOSS]:.3f}" if rows.LOSS in values else "none yet",
    }
    if rows.HELD_OUT in values:
        shown["Held out"] = f"{values[rows.HELD_OUT]:.3f}"
    if rows.SPEED in values:
        shown["Tokens a second"] = f"{values[rows.SPEED]:,.0f}"
    if rows.SHARE in values:
        shown["MFU"] = f"{values[rows.SHARE]:.1%}"
    if (left := rows.seconds_left(run, values.get(rows.SPEED, 0.0))) is not None:
        shown["Left"] = duration(left)
    if run.nodes:
        shown |= {"Nodes": ", ".join(run.nodes) if len(run.nodes) < 4 else str(len(run.nodes))}
    if run.attempt > 1:
        shown["Attempt"] = str(run.attempt)
    return shown | {"Model": run.model or "none yet"}


def _curves(run: training_pb2.Run) -> None:
    found = rows.curves(run.metrics)
    if not found:
        st.info("No measurement has come in yet; the nodes fetch, tokenise and pack the data first.")
        return
    if losses := rows.losses(found):
        st.altair_chart(curve_chart("loss (nats per token)", losses, run.checkpoints), height=320)
    if domains := rows.by_domain(found):
        st.altair_chart(curve_chart("loss by domain", domains), height=240)
    others = rows.others(found)
    columns = st.columns(min(3, len(others))) if others else []
    for place, (name, points) in enumerate(others.items()):
        curve = [("", step, value) for step, value in points]
        columns[place % len(columns)].altair_chart(curve_chart(name.replace("_", " "), curve), height=180)


def curve_chart(
    title: str, curves: Sequence[tuple[str, int, float]], checkpoints: Sequence[training_pb2.Checkpoint] = ()
) -> Any:
    """(curve, step, value) over the steps, with a tick where a checkpoint was kept; one curve alone needs no name."""
    data = pd.DataFrame(list(curves), columns=["curve", "step", "value"])
    steps = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1))
    several = data["curve"].nunique() > 1
    line = (
        alt.Chart(data, title=title)
        .mark_line(point=bool(data.groupby("curve").size().min() < 3))
        .encode(
            x=steps,
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            color=alt.Color("curve:N", title=None, legend=alt.Legend(orient="bottom")) if several else alt.Undefined,
            tooltip=["step", alt.Tooltip("value:Q", format=".4g"), *(["curve"] if several else [])],
        )
    )
    if not checkpoints:
        return line
    kept = pd.DataFrame({"step": [point.step for point in checkpoints]})
    marks = alt.Chart(kept).mark_rule(strokeDash=[2, 4], color=GREY).encode(x="step:Q", tooltip=["step"])
    return alt.layer(line, marks)


def _told(run: training_pb2.Run) -> None:
    """Restarts, checkpoints, spikes, the queue: what those who watch are told; and what the model wrote."""
    if told := rows.told_rows(run):
        with st.expander("What happened", expanded=run.state not in rows.ENDED):
            display.table(told, "What was told of this run, newest first")
    if samples := rows.samples(run):
        with st.expander(f"What the model writes ({len(samples)})"):
            for step, text in samples:
                st.caption(f"Step {display.words(step)}")
                st.text(text)


def _details(run: training_pb2.Run) -> None:
    if run.checkpoints:
        st.caption("Dotted lines are checkpoints that the run can resume from.")
        with st.expander(f"Checkpoints ({len(run.checkpoints)})"):
            loss = st.column_config.NumberColumn("Loss", format="%.3f")
            display.table(rows.checkpoint_rows(run), "Checkpoints", {"loss": loss})
    with st.expander("Specification, as signed"):
        st.caption(f"Launched by {run.launched_by} at {formats.moment(run.launched_at)}.")
        st.json(run.spec or "{}")


def _nodes(nodes: Sequence[training_pb2.Node]) -> None:
    st.subheader("Nodes")
    if not nodes:
        display.nothing_yet(
            "No node is attached.",
            "The operator invites a node, and its agent attaches it:",
            "coalition-hub invite DIR --organisation NAME --node NODE\n"
            "coalition-hub node NODE-DIR --hub HOST:PORT --name NODE --token TOKEN",
        )
        return
    display.table(rows.node_rows(nodes), "Nodes")
